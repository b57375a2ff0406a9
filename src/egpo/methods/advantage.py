"""Advantages: the group-relative base of Eq. (2), (10) and (13), and its calibration, Eq. (11)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch

from egpo.config.methods import Calibration
from egpo.methods.controls import coin_outcomes, permuted_entropies
from egpo.methods.entropy import response_entropy
from egpo.methods.groups import Groups, Kinds, kinds_of
from egpo.methods.weights import Weights, entropy_weights

EPSILON = 1e-6  # added to the standard deviation: verl's value


@dataclass(frozen=True)
class Calibrated:
    """The advantages of a step's responses, (n,) each, and what they were computed from.

    Attributes:
        advantages: the calibrated advantages of Eq. (11), weights * base.
        correct: as the method takes them: a control may have drawn them.
    """

    advantages: torch.Tensor
    base: torch.Tensor
    weights: Weights
    entropies: torch.Tensor
    correct: torch.Tensor
    lengths: torch.Tensor
    groups: Groups
    kinds: Kinds


def outcomes(rewards: torch.Tensor, penalty: float) -> torch.Tensor:
    """(n,) bool, True for correct responses.

    Args:
        penalty: the most that overlong shaping may have subtracted, 0 to 1.

    Raises:
        ValueError: unless every reward is +1 or -1 (Eq. 1), less at most `penalty`.
    """
    correct = rewards > -0.5  # +1 less at most 1 is at least 0
    lost = torch.where(correct, 1.0, -1.0) - rewards
    wrong = rewards[~((lost >= -1e-6) & (lost <= penalty + 1e-6))]
    if wrong.numel():
        raise ValueError(
            f"rewards must be +1 or -1 (Eq. 1){f' less at most {penalty}' if penalty else ''}, found "
            f"{sorted(set(wrong.tolist()))[:5]}: no other reward term (KL in the reward, format bonus) may be mixed in"
        )
    return correct


def base_advantage(rewards: torch.Tensor, groups: Groups, kinds: Kinds, nsr: bool) -> torch.Tensor:
    """A_i: Eq. (2) in mixed groups, 0 in entirely-correct ones, and in entirely-incorrect ones -1 (NSR) or 0.

    A group of one response is never mixed, so it gets 0 or NSR's -1; verl's estimator gives it its reward.
    """
    scaled = (rewards - groups.spread(groups.mean(rewards))) / (groups.spread(groups.std(rewards)) + EPSILON)
    uniform = torch.where(kinds.entirely_incorrect, -1.0 if nsr else 0.0, 0.0)
    return torch.where(groups.spread(kinds.mixed), scaled, groups.spread(uniform))


def calibrate(
    rewards: torch.Tensor,
    token_entropies: torch.Tensor,
    mask: torch.Tensor,
    prompts: Sequence[Hashable],
    calibration: Calibration,
    scope: torch.Tensor | None = None,
    penalty: float = 0,
    seed: int = 0,
) -> Calibrated:
    """The advantages of Algorithm 1 for the responses of one step, in float32.

    Args:
        rewards: (n,), see `outcomes`.
        token_entropies, mask: (n, longest), see `response_entropy`.
        prompts: n identities; responses of equal identity form a group.
        scope: (n, longest), the tokens that the entropy is averaged over, see `scope_mask`; the whole response if None.
        penalty: see `outcomes`.
        seed: of what a control draws.

    Raises:
        ValueError: for lengths that disagree, a response without tokens, a reward other than those of Eq. (1), or a
            token's entropy that is not finite.
    """
    lengths = mask.bool().sum(dim=1)
    if empty := torch.nonzero(lengths == 0).flatten().tolist():
        raise ValueError(f"responses {empty[:5]} have no token in their mask: there is nothing to give an advantage to")
    entropies = response_entropy(token_entropies, mask if scope is None else scope)
    return calibrate_responses(rewards, entropies, lengths, prompts, calibration, penalty, seed)


def calibrate_responses(
    rewards: torch.Tensor,
    entropies: torch.Tensor,
    lengths: torch.Tensor,
    prompts: Sequence[Hashable],
    calibration: Calibration,
    penalty: float = 0,
    seed: int = 0,
) -> Calibrated:
    """`calibrate` from the entropies of whole responses, as a record of a training has them.

    Args:
        entropies: (n,) float32 of `response_entropy`.
        lengths: (n,) tokens.

    Raises:
        ValueError: for lengths that disagree, or a reward other than those of Eq. (1).
    """
    if len(prompts) != len(rewards):
        raise ValueError(f"{len(rewards)} rewards for {len(prompts)} prompt identities")
    rewards, groups = rewards.float(), Groups.of(prompts)
    correct = outcomes(rewards, penalty)
    if calibration.control == "random_reward":
        correct = coin_outcomes(correct, groups, prompts, seed)
        rewards = torch.where(correct, 1.0, -1.0)
    kinds = kinds_of(correct, groups)
    permuted = calibration.control == "permuted_entropy"
    weighed = permuted_entropies(entropies, groups, prompts, seed) if permuted else entropies
    weights = entropy_weights(weighed, correct, groups, kinds, calibration)
    if calibration.control == "constant_weight":
        weights = Weights(weights.values.mean().expand(len(rewards)), torch.zeros_like(correct))
    base = base_advantage(rewards, groups, kinds, calibration.nsr)
    if calibration.control == "nsr_only":
        base = torch.where(groups.spread(kinds.mixed), 0.0, base)
    return Calibrated(weights.values * base, base, weights, entropies, correct, lengths, groups, kinds)
