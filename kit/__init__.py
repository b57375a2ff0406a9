"""The GPU kit: tries the project's training and evaluation on one GPU, without a network. See README.md."""
