"""Training reward by step, for every method and backbone."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from egpo.common.errors import UserError
from egpo.common.files import write_text
from egpo.config.experiment import Catalogue
from egpo.data.verl_rows import DATA_SOURCE
from egpo.report.figures.style import COLOURS, LINES, caption, save, shared_legend
from egpo.training.progress import REWARD

VALIDATION = f"val-core/{DATA_SOURCE}/acc/mean@1"  # verl's name of the accuracy on the validation rows
Model = tuple[str, str, int]


def read_metric(metrics: Path, name: str) -> pd.Series:
    """A metric indexed by training step, where it was measured. Raises UserError if it never was."""
    table = pd.read_json(metrics, lines=True)
    if name not in table:
        raise UserError(f"{metrics}: holds no '{name}': it is not the metrics file of a training.")
    return table.dropna(subset=[name]).set_index("step")[name]


def summary(catalogue: Catalogue, metrics: dict[Model, Path]) -> pd.DataFrame:
    """A row per training: reward of the first and last quarter of the steps, their difference with its standard
    error over steps, and validation accuracy before the first and after the last step."""
    rows = []
    for (backbone, method, seed), path in metrics.items():
        rewards, validation = read_metric(path, REWARD), read_metric(path, VALIDATION)
        size = quarter(rewards)
        gain, error = quarter_gain(rewards)
        row = {"backbone": backbone, "method": method, "training_seed": seed, "steps": len(rewards)}
        row |= {"reward_first_quarter": rewards.iloc[:size].mean(), "reward_last_quarter": rewards.iloc[-size:].mean()}
        row |= {"gain": gain, "gain_se": error}
        row |= {"validation_first": validation.iloc[0], "validation_last": validation.iloc[-1]}
        rows.append({**row, "note": " ".join(catalogue.experiment.note.split())})
    return pd.DataFrame(rows)


def quarter(rewards: pd.Series) -> int:
    """Steps in a quarter of a training."""
    return max(1, len(rewards) // 4)


def quarter_gain(rewards: pd.Series) -> tuple[float, float]:
    """Mean of the last quarter of the steps less that of the first, and the standard error of the difference."""
    size = quarter(rewards)
    first, last = rewards.iloc[:size], rewards.iloc[-size:]
    error = ((first.var(ddof=1) + last.var(ddof=1)) / size) ** 0.5
    return float(last.mean() - first.mean()), float(error)


def learning_curve(catalogue: Catalogue, metrics: dict[Model, Path], out: Path) -> None:
    """`learning_curve.png`, `.pdf` and, in numbers, `.csv` in `out`: a panel per backbone, a line per method.

    The line is the mean over training seeds of a running mean over steps; dots are single steps.
    metrics: metrics.jsonl of each (backbone, method, training seed).
    """
    runs: dict[str, dict[str, list[pd.Series]]] = defaultdict(lambda: defaultdict(list))
    for (backbone, method, _), path in metrics.items():
        runs[backbone][method].append(read_metric(path, REWARD))
    figure, axes = plt.subplots(
        1, len(runs), figsize=(max(5.5, 3.6 * len(runs)), 3.6), sharey=True, squeeze=False, layout="constrained"
    )
    order = list(dict.fromkeys(method for _, method, _ in metrics))  # a method looks the same in every panel
    for axis, (backbone, methods) in zip(axes[0], runs.items(), strict=True):
        for method, series in methods.items():
            index = order.index(method)
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
    shared_legend(figure, axes)
    seeds = len(catalogue.experiment.training_seeds)
    text = (
        f"Dots: single steps. Lines: running mean of {window} steps. Training seeds: {seeds}. "
        + catalogue.experiment.note
    )
    caption(figure, text)
    save(figure, out, "learning_curve")
    write_text(out / "learning_curve.csv", summary(catalogue, metrics).to_csv(index=False, float_format="%.4f"))
