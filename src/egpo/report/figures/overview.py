"""The first two figures of the report: accuracies with their intervals, and paired differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from egpo.analysis.comparisons import ABLATIONS
from egpo.analysis.labels import label, note
from egpo.analysis.statistics import LEVEL
from egpo.common.paths import BASE
from egpo.config.experiment import Catalogue
from egpo.report.figures.style import COLOURS, caption, panels, save, shared_legend

INK = "#1c1f23"


def _name(catalogue: Catalogue, method: str) -> str:
    return "base" if method == BASE else catalogue.methods[method].label


def _bars(low: pd.Series, value: pd.Series, high: pd.Series) -> np.ndarray:
    """Lengths of error bars (2, n); 0 where there is no interval."""
    return np.nan_to_num(np.stack([value - low, high - value])).clip(min=0)


def accuracy_figure(catalogue: Catalogue, table1: Path, out: Path) -> None:
    """Write accuracy.png and .pdf into `out`: a panel per backbone, a group per benchmark, a dot per method.

    Args:
        table1: table1.csv.
    """
    table = pd.read_csv(table1)
    backbones, names = catalogue.experiment.backbones, catalogue.experiment.benchmarks
    table = table[table["benchmark"].isin(names) & table["backbone"].isin(backbones)]
    methods = list(dict.fromkeys(table["method"]))
    figure, axes = panels(len(backbones), 1, height=2.9)
    for axis, backbone in zip(axes[:, 0], backbones, strict=True):
        for number, method in enumerate(methods):
            rows = table[(table["backbone"] == backbone) & (table["method"] == method)].set_index("benchmark")
            rows = rows.reindex(names)
            places = np.arange(len(names)) + (number - (len(methods) - 1) / 2) * 0.8 / max(len(methods), 2)
            colour = "#7a8088" if method == BASE else COLOURS[(number - 1) % len(COLOURS)]
            errors = _bars(rows["low"], rows["accuracy"], rows["high"])
            axis.errorbar(places, rows["accuracy"], yerr=errors, fmt="o", color=colour, markersize=5, capsize=2,
                          linewidth=1.2, label=_name(catalogue, method))  # fmt: skip
            if rows["paper"].notna().any():
                axis.plot(places, rows["paper"], "x", color=colour, markersize=5)
        axis.set_xticks(range(len(names)), [catalogue.benchmarks[name].label for name in names], fontsize=8)
        axis.set_ylabel("accuracy (%)")
        axis.set_ylim(bottom=0)
        axis.grid(axis="x", visible=False)
        axis.set_title(catalogue.backbones[backbone].label, fontsize=9)
    shared_legend(figure, axes)
    printed = " Crosses: as printed in the paper." if table["paper"].notna().any() else ""
    caption(figure, f"Mean pass@1 with 95% intervals.{printed}", note(catalogue))
    save(figure, out, "accuracy")


def forest_figure(catalogue: Catalogue, comparisons: Path, table1: Path, out: Path) -> None:
    """Write forest.png and .pdf into `out`: the main method less each other one, per backbone and benchmark.

    Args:
        comparisons: comparisons.csv.
        table1: table1.csv, which has the paper's numbers.
    """
    main = catalogue.experiment.main_method
    rows = pd.read_csv(comparisons)
    rows = rows[(rows["first"] == main) & (rows["family"] != ABLATIONS)]
    printed = pd.read_csv(table1).set_index(["backbone", "method", "benchmark"])["paper"]
    backbones = list(dict.fromkeys(rows["backbone"]))
    most = max((rows["backbone"] == backbone).sum() for backbone in backbones)
    figure, axes = panels(1, len(backbones), height=0.6 + 0.24 * most, sharex=True)
    for axis, backbone in zip(axes[0], backbones, strict=True):
        mine = rows[rows["backbone"] == backbone].iloc[::-1].reset_index(drop=True)
        keys = [(backbone, second, name) for second, name in zip(mine["second"], mine["benchmark"], strict=True)]
        paper = [printed.get((backbone, main, key[2]), np.nan) - printed.get(key, np.nan) for key in keys]
        found = mine["p_holm"] < LEVEL
        # Few questions or seeds give intervals beyond what a difference can be.
        errors = _bars(mine["low"].clip(lower=-100), mine["difference"], mine["high"].clip(upper=100))
        for chosen, face in ((found, COLOURS[0]), (~found, "white")):
            axis.errorbar(mine["difference"][chosen], mine.index[chosen], xerr=errors[:, chosen], fmt="o",
                          color=COLOURS[0], markerfacecolor=face, markersize=5, capsize=2, linewidth=1.2)  # fmt: skip
        axis.plot(paper, mine.index, "x", color=COLOURS[1], markersize=5)
        axis.axvline(0, color=INK, linewidth=0.8)
        names = [f"{_name(catalogue, key[1])}: {catalogue.benchmarks[key[2]].label}" for key in keys]
        axis.set_yticks(mine.index, names, fontsize=8)
        axis.set_ylim(-0.6, len(mine) - 0.4)
        axis.set_xlabel("difference (points)")
        axis.set_title(f"{label(catalogue, backbone, main)} less", fontsize=9)
    crosses = " Crosses: by the paper's numbers." if printed.notna().any() else ""
    caption(figure, f"Paired differences with 95% intervals; filled: found at 5% after Holm's correction.{crosses}",
            note(catalogue))  # fmt: skip
    save(figure, out, "forest")
