"""Advantages: the group-relative base of Eq. (2), (10) and (13), and its calibration, Eq. (11)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch

from egpo.config import Calibration
from egpo.methods.entropy import response_entropy
from egpo.methods.groups import Groups, Kinds, kinds
from egpo.methods.weights import entropy_weights

EPSILON = 1e-6  # added to the standard deviation: verl's value


@dataclass(frozen=True)
class Calibrated:
    """What a step's responses get, one value each, with what it came from.

    advantages is the calibrated advantage of Eq. (11): weights * base.
    """

    advantages: torch.Tensor
    base: torch.Tensor
    weights: torch.Tensor
    entropies: torch.Tensor
    rewards: torch.Tensor
    lengths: torch.Tensor
    groups: Groups
    kinds: Kinds


def check_rewards(rewards: torch.Tensor) -> None:
    """Raise ValueError unless every reward is +1 or -1 (Eq. 1)."""
    wrong = rewards[(rewards != 1) & (rewards != -1)]
    if wrong.numel():
        raise ValueError(
            f"rewards must be +1 or -1 (Eq. 1), found {sorted(set(wrong.tolist()))[:5]}: no other reward term "
            "(length penalty, KL in the reward, format bonus) may be mixed in"
        )


def base_advantage(rewards: torch.Tensor, groups: Groups, nsr: bool) -> torch.Tensor:
    """A_i: Eq. (2) in mixed groups, 0 in entirely-correct ones, and in entirely-incorrect ones -1 (NSR) or 0."""
    scaled = (rewards - groups.spread(groups.mean(rewards))) / (groups.spread(groups.std(rewards)) + EPSILON)
    kind = kinds(rewards, groups)
    uniform = torch.where(kind.entirely_incorrect, -1.0 if nsr else 0.0, 0.0)
    return torch.where(groups.spread(kind.mixed), scaled, groups.spread(uniform))


def calibrate(
    rewards: torch.Tensor,
    old_log_probs: torch.Tensor,
    mask: torch.Tensor,
    prompts: Sequence[Hashable],
    calibration: Calibration,
) -> Calibrated:
    """Algorithm 1, lines on advantages, for the responses of one step.

    rewards: (n,) of +1 and -1. old_log_probs, mask: (n, longest), see `response_entropy`.
    prompts: n identities; responses of equal identity form a group.
    """
    if len(prompts) != len(rewards):
        raise ValueError(f"{len(rewards)} rewards for {len(prompts)} prompt identities")
    rewards = rewards.float()
    check_rewards(rewards)
    groups = Groups.of(prompts)
    entropies = response_entropy(old_log_probs, mask)
    weights = entropy_weights(entropies, rewards, groups, calibration)
    base = base_advantage(rewards, groups, calibration.nsr)
    return Calibrated(
        advantages=weights * base,
        base=base,
        weights=weights,
        entropies=entropies,
        rewards=rewards,
        lengths=mask.bool().sum(dim=1),
        groups=groups,
        kinds=kinds(rewards, groups),
    )
