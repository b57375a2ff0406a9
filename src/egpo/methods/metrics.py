"""Metrics of a step's calibration."""

from __future__ import annotations

import torch

from egpo.methods.advantage import Calibrated


def _summary(name: str, values: torch.Tensor) -> dict[str, float]:
    if not values.numel():  # an outcome that did not occur
        return {}
    return {
        f"{name}/mean": values.mean().item(),
        f"{name}/min": values.min().item(),
        f"{name}/max": values.max().item(),
    }


def step_metrics(step: Calibrated) -> dict[str, float]:
    """Metrics of one step, as docs/methods.md lists them; those of an outcome that did not occur are left out.

    egpo/nsr_share: each token's gradient is its advantage times that of its log-probability, and the loss averages
    over tokens. So this share of sum |advantage| is the share of the gradient's magnitude that comes from NSR, if the
    gradients of log-probabilities are of similar size.
    """
    all_wrong = step.groups.spread(step.kinds.entirely_incorrect)
    defined = ~torch.isnan(step.entropies)
    metrics = {
        "egpo/groups/mixed": step.kinds.mixed.float().mean().item(),
        "egpo/groups/entirely_correct": step.kinds.entirely_correct.float().mean().item(),
        "egpo/groups/entirely_incorrect": step.kinds.entirely_incorrect.float().mean().item(),
        "egpo/entropy/undefined": 1 - defined.float().mean().item(),
    }
    for name, rows in (
        ("correct", step.correct),
        ("incorrect", ~step.correct),
        ("entirely_incorrect", all_wrong),
    ):
        metrics |= _summary(f"egpo/weight/{name}", step.weights.values[rows])
        if rows.any():
            metrics[f"egpo/weight/{name}/at_bound"] = step.weights.at_bound[rows].float().mean().item()
    for name, rows in (("correct", step.correct), ("incorrect", ~step.correct)):
        metrics |= _summary(f"egpo/entropy/{name}", step.entropies[rows & defined])
    if "egpo/entropy/correct/mean" in metrics and "egpo/entropy/incorrect/mean" in metrics:
        metrics["egpo/entropy/gap"] = metrics["egpo/entropy/incorrect/mean"] - metrics["egpo/entropy/correct/mean"]
    mass = step.advantages.abs() * step.lengths
    total = mass.sum().item()
    metrics["egpo/nsr_share"] = mass[all_wrong].sum().item() / total if total else 0.0
    return metrics
