"""The GPU kit: the project's training and evaluation tried on one GPU in ten minutes, without a network (README.md)."""
