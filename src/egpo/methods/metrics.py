"""What a step's calibration did, as numbers to plot."""

from __future__ import annotations

import torch

from egpo.methods.advantage import Calibrated


def _by_outcome(name: str, values: torch.Tensor, correct: torch.Tensor) -> dict[str, float]:
    metrics = {}
    for outcome, chosen in (("correct", values[correct]), ("incorrect", values[~correct])):
        if chosen.numel():  # an outcome that did not occur has no statistics
            metrics[f"egpo/{name}/{outcome}/mean"] = chosen.mean().item()
            metrics[f"egpo/{name}/{outcome}/min"] = chosen.min().item()
            metrics[f"egpo/{name}/{outcome}/max"] = chosen.max().item()
    return metrics


def step_metrics(step: Calibrated) -> dict[str, float]:
    """Shares of group kinds, weights and entropies by outcome, and the share of the update that is NSR's.

    egpo/entropy/gap: mean entropy of incorrect responses less that of correct ones, nats per token.
    egpo/nsr_share: share of sum |advantage| over tokens (the loss averages over tokens) that lies in
    entirely-incorrect groups. Statistics of an outcome that did not occur are left out.
    """
    correct = step.rewards > 0
    metrics = {
        "egpo/groups/mixed": step.kinds.mixed.float().mean().item(),
        "egpo/groups/entirely_correct": step.kinds.entirely_correct.float().mean().item(),
        "egpo/groups/entirely_incorrect": step.kinds.entirely_incorrect.float().mean().item(),
        **_by_outcome("weight", step.weights, correct),
        **_by_outcome("entropy", step.entropies, correct),
    }
    if correct.any() and not correct.all():
        gap = step.entropies[~correct].mean() - step.entropies[correct].mean()
        metrics["egpo/entropy/gap"] = gap.item()
    mass = step.advantages.abs() * step.lengths
    hopeless = step.groups.spread(step.kinds.entirely_incorrect)
    total = mass.sum().item()
    metrics["egpo/nsr_share"] = mass[hopeless].sum().item() / total if total else 0.0
    return metrics
