"""Training reward by step, for every method and backbone."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pandas as pd

from egpo.analysis.learning import read_metric, summary
from egpo.common.files import write_text
from egpo.common.paths import Model
from egpo.config.experiment import Catalogue
from egpo.report.figures.style import COLOURS, LINES, caption, panels, save, shared_legend
from egpo.training.progress import REWARD


def learning_curve(catalogue: Catalogue, metrics: dict[Model, Path], out: Path) -> None:
    """Write learning_curve.png, .pdf and, in numbers, .csv into `out`: a panel per backbone, a line per method.

    The line is the mean over training seeds of a running mean over steps; dots are single steps.

    Args:
        metrics: `metrics.jsonl` of each training.
    """
    runs: dict[str, dict[str, list[pd.Series]]] = defaultdict(lambda: defaultdict(list))
    for (backbone, method, _), path in metrics.items():
        runs[backbone][method].append(read_metric(path, REWARD))
    figure, axes = panels(1, len(runs), height=2.7, sharey=True)
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
    text = f"Dots: single steps. Lines: running mean of {window} steps. Training seeds: {seeds}."
    caption(figure, text, catalogue.experiment.note)
    save(figure, out, "learning_curve")
    write_text(out / "learning_curve.csv", summary(catalogue, metrics).to_csv(index=False, float_format="%.4f"))
