"""The mathematics of the methods: pure functions on tensors, without I/O, Ray or verl.

Every function takes one value per response (a 1-D tensor of n responses) and, where groups matter,
a `Groups`. Equation numbers are those of the EGPO paper (arXiv 2602.22751v1).
"""
