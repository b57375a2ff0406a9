"""The mathematics of the methods: pure functions on tensors, without I/O, Ray or verl.

Every function takes tensors of one value per response, (n,), and `Groups` where groups matter. Equation numbers are
those of the EGPO paper (arXiv 2602.22751v1).
"""
