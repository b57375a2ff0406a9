"""Figures 1 and 2 of the paper, drawn by the functions that train: entropy weights and base advantages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes

from egpo.config.methods import Method
from egpo.methods.advantage import base_advantage
from egpo.methods.groups import Groups, kinds_of
from egpo.methods.weights import clamped
from egpo.report.figures.style import COLOURS, LINES, caption, panels, save


def _weights(axis: Axes, method: Method) -> None:
    """w of Eq. (8) against the response's entropy as a multiple of its group's mean."""
    calibration = method.calibration
    ratio = np.linspace(0.25, 2.0, 400)
    raw = torch.tensor(1 / ratio)
    for index, (correct, name) in enumerate(((True, "correct"), (False, "incorrect"))):
        outcome = torch.full(raw.shape, correct)
        axis.plot(ratio, clamped(raw, outcome, calibration), LINES[index], color=COLOURS[index], label=name)
    axis.plot(ratio, raw, ":", color="#777777", linewidth=1, label="before the clamp")
    for bound, name in ((calibration.lam_min, "lower bound"), (calibration.lam_max, "upper bound")):
        axis.axhline(bound, color="#bbbbbb", linewidth=0.7)
        axis.text(2.0, bound, f"{name} {bound:g} ", fontsize=7, ha="right", va="bottom", color="#555555")
    axis.set_ylim(0.4, calibration.lam_max + 0.5)
    axis.set_xlabel("entropy of the response / mean of its group")
    axis.set_ylabel("weight")
    axis.set_title("Asymmetric clamp, Eq. (8)", fontsize=9)
    axis.legend(fontsize=7, loc="upper center")


def _advantages(axis: Axes, method: Method, size: int) -> None:
    """A of Eq. (10) for a group of `size` by its number of correct responses."""
    counts = range(size + 1)
    values: dict[bool, list[float]] = {True: [], False: []}
    for count in counts:
        correct = torch.arange(size) < count
        rewards = torch.where(correct, 1.0, -1.0)
        groups = Groups.of([0] * size)
        advantages = base_advantage(rewards, groups, kinds_of(correct, groups), method.calibration.nsr)
        values[True].append(float(advantages[0]) if count else np.nan)
        values[False].append(float(advantages[-1]) if count < size else np.nan)
    for index, (outcome, name) in enumerate(((True, "correct"), (False, "incorrect"))):
        axis.plot(
            counts, values[outcome], f"{'ox'[index]}{LINES[index]}", color=COLOURS[index], label=name, markersize=4
        )
    axis.set_xlabel(f"correct responses in a group of {size}")
    axis.set_ylabel("advantage before the weight")
    axis.set_title("Base advantage, Eq. (10) and (13)", fontsize=9)
    axis.legend(fontsize=7, loc="lower left")


def method_figure(method: Method, rollouts_per_prompt: int, out: Path) -> None:
    """Write method.png and .pdf into `out`, for a method with entropy weights."""
    figure, axes = panels(1, 2, height=2.4)
    _weights(axes[0, 0], method)
    _advantages(axes[0, 1], method, rollouts_per_prompt)
    text = (
        f"{method.label}, as its training computes it: left, the weight of a response by its entropy; right, what it "
        "is multiplied with. At 0 correct responses the advantage is that of negative-sample reinforcement."
    )
    caption(figure, text)
    save(figure, out, "method")
