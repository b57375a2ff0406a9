"""The optimiser Muon (Keller Jordan, 2024) for the matrices of a tiny model on a CPU."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import Parameter

MOMENTUM = 0.95
# Of the quintic that drives all singular values of a matrix towards 1.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


def orthogonalised(matrices: torch.Tensor) -> torch.Tensor:
    """(n, rows, columns) matrices with the same singular vectors, and singular values near 1."""
    wide = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
    found = wide / wide.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        square = found @ found.mT
        found = a * found + (b * square + c * square @ square) @ found
    return found.mT if wide is not matrices else found


class Muon(torch.optim.Optimizer):
    """Nesterov momentum with orthogonal steps, as torch.optim.Muon, which calculates in bfloat16.

    Many CPUs have no bfloat16. Matrices of one shape are multiplied together, since each is small.
    """

    def __init__(self, matrices: Iterable[Parameter], lr: float) -> None:
        super().__init__(matrices, {"lr": lr})
        self._shapes: dict[torch.Size, list[Parameter]] = {}
        for matrix in self.param_groups[0]["params"]:
            self._shapes.setdefault(matrix.shape, []).append(matrix)
        self._momenta = {shape: torch.zeros(len(group), *shape) for shape, group in self._shapes.items()}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure is used here
        for shape, group in self._shapes.items():
            gradients = torch.stack([matrix.grad for matrix in group if matrix.grad is not None])
            momenta = self._momenta[shape].lerp_(gradients, 1 - MOMENTUM)
            steps = orthogonalised(gradients.lerp(momenta, MOMENTUM))
            size = self.param_groups[0]["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
            for matrix, step in zip(group, steps, strict=True):
                matrix.sub_(size * step)
