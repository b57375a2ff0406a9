"""Entropy weights of responses: Eq. (7) to (9), the variants of Table 2, and EDGE-GRPO's division by P_i / mean(P)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from egpo.config.methods import Calibration
from egpo.methods.custom_weights import custom_weights
from egpo.methods.groups import Groups, Kinds


@dataclass(frozen=True)
class Weights:
    """Weights of a step's responses.

    Attributes:
        values: (n,) w_i.
        at_bound: (n,) bool, where the clamp of Eq. (8) changed the weight.
    """

    values: torch.Tensor
    at_bound: torch.Tensor


def raw_weights(entropies: torch.Tensor, groups: Groups, eps_h: float) -> torch.Tensor:
    """what_i = mean_j(H_j) / (H_i + eps_H), Eq. (7): above 1 for a response more certain than its group.

    A response whose entropy is undefined (nan) gets 1 and is left out of its group's mean. In a group whose entropies
    are all 0, all weights are 0, as the equation says.
    """
    ratios = groups.spread(groups.mean_of_defined(entropies)) / (entropies + eps_h)
    return torch.where(torch.isnan(entropies), 1.0, ratios)


def renormalised(weights: torch.Tensor, groups: Groups) -> torch.Tensor:
    """w_i / mean_j(w_j), Eq. (9)."""
    means = groups.spread(groups.mean(weights))
    return torch.where(means > 0, weights / means, weights)  # nothing to rescale if all weights are 0


def clamped(weights: torch.Tensor, correct: torch.Tensor, calibration: Calibration) -> torch.Tensor:
    """The asymmetric clamp of Eq. (8): weights of correct responses are at least 1, of incorrect ones at most 1.

    A side for which `calibration` says "clip" is only clipped to the bounds; with "raw" it is not changed.
    """
    clipped = weights.clamp(calibration.lam_min, calibration.lam_max)
    upper = {"floor": clipped.clamp(min=1), "clip": clipped, "raw": weights}[calibration.correct]
    lower = {"cap": clipped.clamp(max=1), "clip": clipped, "raw": weights}[calibration.incorrect]
    return torch.where(correct, upper, lower)


def entropy_weights(
    entropies: torch.Tensor, correct: torch.Tensor, groups: Groups, kinds: Kinds, calibration: Calibration
) -> Weights:
    """w_i of every response, in the order of Algorithm 1: (7) or custom, renormalise, (8), renormalise, lock.

    Args:
        entropies: (n,) of `response_entropy`.
        correct: (n,) bool.
    """
    if calibration.weight == "none":
        return Weights(torch.ones_like(entropies), torch.zeros_like(correct))
    if calibration.custom is None:
        before = raw_weights(entropies, groups, calibration.eps_h)
    else:
        before = custom_weights(entropies, correct, groups, calibration)
    if calibration.renorm == "before_clipped":
        before = before.clamp(calibration.lam_min, calibration.lam_max)
    if calibration.renorm in ("before", "before_clipped"):
        before = renormalised(before, groups)
    weights = clamped(before, correct, calibration)
    at_bound = weights != before
    if calibration.renorm == "after":
        weights = renormalised(weights, groups)
    locked = {
        "none": torch.zeros_like(correct),
        "entirely_incorrect": groups.spread(kinds.entirely_incorrect),
        "incorrect": ~correct,
    }[calibration.lock]
    return Weights(torch.where(locked, 1.0, weights), at_bound & ~locked)
