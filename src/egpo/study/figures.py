"""The figures of a study: paired differences, learning curves with bands, entropy gaps."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from egpo.common.paths import BASE
from egpo.report.figures.style import COLOURS, LINES, caption, panels
from egpo.study.results import mean
from egpo.study.rows import CURVE, POINTS

FAINT = "#555555"
DPI = 110  # the files are committed


def _save(figure: Figure, out: Path, name: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / f"{name}.png", dpi=DPI, metadata={"Software": None})
    plt.close(figure)


def differences(compared: pd.DataFrame, labels: dict[str, str], out: Path, name: str) -> None:
    """A line for each comparison, with its 95% interval; filled where Holm's p-value is below 5%."""
    known = compared.dropna(subset=["difference"]).iloc[::-1].reset_index(drop=True)
    if known.empty:
        return
    figure, axes = panels(1, 1, height=0.34 * len(known) + 0.6, width=6.4)
    axis = axes[0][0]
    families = list(dict.fromkeys(compared["family"]))
    for place, row in known.iterrows():
        colour = COLOURS[families.index(row["family"]) % len(COLOURS)]
        axis.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.6)
        found = row["p_holm"] < 0.05
        axis.plot(row["difference"], place, "o", color=colour, markerfacecolor=colour if found else "white")
    axis.axvline(0, color=FAINT, linewidth=0.8)
    names = [f"{labels[row['first']]} less {labels[row['second']]}" for row in known.to_dict("records")]
    axis.set_yticks(range(len(known)), names)
    axis.set_ylim(-0.6, len(known) - 0.4)
    axis.set_xlabel("difference of sampled accuracy (points)")
    for family in families:
        axis.plot([], [], color=COLOURS[families.index(family) % len(COLOURS)], label=family)
    figure.legend(loc="outside upper center", ncols=min(3, len(families)), fontsize=8)
    seeds = sorted(set(known["seeds"]))
    caption(
        figure,
        f"95% intervals, paired by training seed, {seeds[0]}{f' to {seeds[-1]}' if len(seeds) > 1 else ''} seeds. "
        "Filled: found at 5% after Holm's correction within the family.",
    )
    _save(figure, out, name)


def curves(rows: pd.DataFrame, labels: dict[str, str], out: Path, name: str) -> None:
    """Greedy accuracy on the validation rows in ten points; bands are 95% intervals of the mean over seeds."""
    methods = [name for name in dict.fromkeys(rows["method"]) if name != BASE]
    columns = min(4, len(methods))
    figure, axes = panels(-(-len(methods) // columns), columns, height=1.9, width=2.2, sharex=True, sharey=True)
    x = np.arange(POINTS + 1) / POINTS * 100
    base = [100 * rows.loc[rows["method"] == methods[0], column].astype(float).mean() for column in CURVE]
    for place, axis in enumerate(axes.flat):
        if place >= len(methods):
            axis.set_visible(False)
            continue
        mine = rows[rows["method"] == methods[place]]
        means = [mean(100 * mine[column].astype(float)) for column in CURVE]
        axis.plot(x, base, LINES[1], color=FAINT, linewidth=0.9, label=labels[methods[0]])
        axis.plot(x, [one.value for one in means], color=COLOURS[0])
        axis.fill_between(x, [one.low for one in means], [one.high for one in means], color=COLOURS[0], alpha=0.18)
        axis.set_title(labels[methods[place]], fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("steps (%)")
    for axis in axes[:, 0]:
        axis.set_ylabel("accuracy (%)")
    caption(figure, f"Greedy, on the validation rows. Dashed: {labels[methods[0]]}. Bands: 95% of the mean over seeds.")
    _save(figure, out, name)


def gaps(rows: pd.DataFrame, labels: dict[str, str], out: Path, name: str) -> None:
    """Entropy gap of each training, and the mean over seeds with its interval."""
    methods = list(dict.fromkeys(rows["method"]))[::-1]
    figure, axes = panels(1, 1, height=0.34 * len(methods) + 0.6, width=6.4)
    axis = axes[0][0]
    for place, method in enumerate(methods):
        values = rows.loc[rows["method"] == method, "gap"].astype(float)
        one = mean(values)
        axis.plot(values, [place + 0.18] * len(values), "|", color=FAINT, markersize=5)
        axis.plot([one.low, one.high], [place, place], color=COLOURS[0], linewidth=1.6)
        axis.plot(one.value, place, "o", color=COLOURS[0])
    axis.axvline(0, color=FAINT, linewidth=0.8)
    axis.set_yticks(range(len(methods)), [labels[method] for method in methods])
    axis.set_xlabel("entropy gap, incorrect less correct (nats per token)")
    caption(figure, "Sampled responses to the held-out questions. Marks: trainings. Points: means with 95% intervals.")
    _save(figure, out, name)
