"""Training reward by step, for every method and backbone."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from egpo.config import Catalogue
from egpo.errors import UserError
from egpo.report.style import COLOURS, LINES, save

REWARD = "critic/score/mean"  # verl's name of the mean reward of a step's rollouts
Model = tuple[str, str, int]


def read_rewards(metrics: Path) -> pd.Series:
    """Mean reward in [-1, 1], indexed by training step."""
    table = pd.read_json(metrics, lines=True)
    if REWARD not in table:
        raise UserError(f"{metrics}: holds no '{REWARD}': it is not the metrics file of a training.")
    return table.dropna(subset=[REWARD]).set_index("step")[REWARD]


def quarter_gain(rewards: pd.Series) -> tuple[float, float]:
    """Mean of the last quarter of the steps less that of the first, and the standard error of the difference."""
    size = max(1, len(rewards) // 4)
    first, last = rewards.iloc[:size], rewards.iloc[-size:]
    error = ((first.var(ddof=1) + last.var(ddof=1)) / size) ** 0.5
    return float(last.mean() - first.mean()), float(error)


def learning_curve(catalogue: Catalogue, metrics: dict[Model, Path], out: Path) -> None:
    """`learning_curve.png` and `.pdf` in `out`: a panel per backbone, a line per method.

    The line is the mean over training seeds of a running mean over steps; dots are single steps.
    metrics: metrics.jsonl of each (backbone, method, training seed).
    """
    runs: dict[str, dict[str, list[pd.Series]]] = defaultdict(lambda: defaultdict(list))
    for (backbone, method, _), path in metrics.items():
        runs[backbone][method].append(read_rewards(path))
    figure, axes = plt.subplots(
        1, len(runs), figsize=(max(5.5, 3.6 * len(runs)), 3.6), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, (backbone, methods) in zip(axes[0], runs.items(), strict=True):
        for index, (method, series) in enumerate(methods.items()):
            colour = COLOURS[index % len(COLOURS)]
            mean = pd.concat(series, axis=1).mean(axis=1)
            window = max(1, len(mean) // 8)
            axis.plot(mean.index, mean, ".", color=colour, markersize=3, alpha=0.5)
            smooth = mean.rolling(window, center=True, min_periods=1).mean()
            label = catalogue.methods[method].label
            axis.plot(smooth.index, smooth, LINES[index % len(LINES)], color=colour, label=label)
        axis.set_title(catalogue.backbones[backbone].label, fontsize=9)
        axis.set_xlabel("training step")
    axes[0][0].set_ylabel("mean reward of the rollouts (from -1 to 1)")
    axes[0][0].legend(loc="lower right")
    seeds = len(catalogue.experiment.training_seeds)
    caption = (
        f"Dots: single steps. Lines: running mean of {window} steps. Training seeds: {seeds}. "
        + catalogue.experiment.note
    )
    width = int(figure.get_figwidth() * 17)
    figure.supxlabel("\n".join(textwrap.wrap(caption, width)), fontsize=7, color="#555555", x=0.01, ha="left")
    save(figure, out, "learning_curve")
