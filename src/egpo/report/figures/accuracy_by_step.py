"""Accuracy by training step, for every method, benchmark and backbone."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pandas as pd

from egpo.analysis.labels import note
from egpo.config.experiment import Catalogue
from egpo.config.matrix import trained_models
from egpo.report.figures.style import COLOURS, LINES, caption, grid, save, shared_legend


def accuracy_by_step_figure(catalogue: Catalogue, by_step: Path, out: Path) -> None:
    """Write accuracy_by_step.png and .pdf into `out`: a panel per backbone and benchmark, a line per method.

    Args:
        by_step: accuracy_by_step.csv.
    """
    table = pd.read_csv(by_step)
    # A method looks as in the learning curve.
    order = list(dict.fromkeys(method for _, method, _ in trained_models(catalogue.experiment)))
    backbones, names = list(dict.fromkeys(table["backbone"])), list(dict.fromkeys(table["benchmark"]))
    figure, axes = grid(len(backbones) * len(names), height=2.7)
    for (backbone, name), axis in zip(product(backbones, names), axes.flat, strict=False):
        mine = table[(table["backbone"] == backbone) & (table["benchmark"] == name)]
        for method, points in mine.groupby("method", sort=False):
            index = order.index(str(method))
            colour, line = COLOURS[index % len(COLOURS)], LINES[index % len(LINES)]
            low, high = points["low"].fillna(points["accuracy"]), points["high"].fillna(points["accuracy"])
            axis.fill_between(points["step"], low, high, color=colour, alpha=0.13, linewidth=0)
            label = catalogue.methods[str(method)].label
            axis.plot(points["step"], points["accuracy"], line, color=colour, marker="o", markersize=4, label=label)
        axis.set_title(f"{catalogue.backbones[backbone].label}: {catalogue.benchmarks[name].label}", fontsize=9)
        axis.set_xlabel("training step")
    for axis in axes[:, 0]:
        axis.set_ylabel("accuracy (%)")
    shared_legend(figure, axes)
    seeds = len(catalogue.experiment.training_seeds)
    text = f"Mean pass@1; bands: 95% intervals. Step 0 is the backbone. Training seeds: {seeds}."
    caption(figure, text, note(catalogue))
    save(figure, out, "accuracy_by_step")
