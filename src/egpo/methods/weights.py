"""Entropy weights of responses: Eq. (7) to (9) and the variants of Table 2."""

from __future__ import annotations

import torch

from egpo.config import Calibration
from egpo.methods.groups import Groups, kinds


def raw_weights(entropies: torch.Tensor, groups: Groups, eps_h: float) -> torch.Tensor:
    """what_i = mean_j(H_j) / (H_i + eps_H), Eq. (7): above 1 for a response more certain than its group."""
    return groups.spread(groups.mean(entropies)) / (entropies + eps_h)


def renormalised(weights: torch.Tensor, groups: Groups) -> torch.Tensor:
    """w_i / mean_j(w_j), Eq. (9)."""
    return weights / groups.spread(groups.mean(weights))


def clamped(weights: torch.Tensor, rewards: torch.Tensor, calibration: Calibration) -> torch.Tensor:
    """The asymmetric clamp of Eq. (8): a correct response never loses weight, an incorrect one never gains any.

    Where `calibration` says "clip", that side is only clipped to the bounds (C1 to C3).
    """
    clipped = weights.clamp(calibration.lam_min, calibration.lam_max)
    correct = clipped.clamp(min=1) if calibration.correct == "floor" else clipped
    incorrect = clipped.clamp(max=1) if calibration.incorrect == "cap" else clipped
    return torch.where(rewards > 0, correct, incorrect)


def entropy_weights(
    entropies: torch.Tensor, rewards: torch.Tensor, groups: Groups, calibration: Calibration
) -> torch.Tensor:
    """w_i of every response, in the order of Algorithm 1: (7), renormalise, (8), renormalise, C4.

    entropies: (n,) of Eq. (5), finite and not negative. rewards: (n,) of +1 and -1.
    """
    if calibration.weight == "none":
        return torch.ones_like(entropies)
    weights = raw_weights(entropies, groups, calibration.eps_h)
    if calibration.renorm == "before":
        weights = renormalised(weights, groups)
    weights = clamped(weights, rewards, calibration)
    if calibration.renorm == "after":
        weights = renormalised(weights, groups)
    if calibration.entirely_incorrect == "one":
        weights = torch.where(groups.spread(kinds(rewards, groups).entirely_incorrect), 1.0, weights)
    return weights
