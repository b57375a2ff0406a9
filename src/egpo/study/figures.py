"""The figures of a study: paired differences, learning curves with bands, entropy gaps, steps.

Each is None where no row has anything to show.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from egpo.common.paths import BASE
from egpo.report.figures.style import COLOURS, LINES, caption, grid, panels, shared_legend
from egpo.study.results import mean
from egpo.study.rows import CURVE, POINTS
from egpo.study.tables import SHARES, Labels, per_method

FAINT = "#555555"
DPI = 110  # the files are committed


def save(figure: Figure, out: Path, name: str) -> None:
    """Write <name>.png, the same bytes for the same figure."""
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / f"{name}.png", dpi=DPI, metadata={"Software": None})
    plt.close(figure)


def differences(compared: pd.DataFrame, labels: Labels) -> Figure | None:
    """A line for each comparison, with its 95% interval; filled where Holm's p-value is below 5%."""
    known = compared.dropna(subset=["difference"]).iloc[::-1].reset_index(drop=True)
    if known.empty:
        return None
    figure, axes = panels(1, 1, height=0.34 * len(known) + 0.6)
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
    decided = "Filled: found at 5% after Holm's correction within the family."
    if known["p_holm"].isna().all():
        decided = "Nothing is decided yet: not all planned seeds are there."
    caption(
        figure,
        f"95% intervals, paired by training seed, {seeds[0]}{f' to {seeds[-1]}' if len(seeds) > 1 else ''} seeds.",
        decided,
    )
    return figure


def curves(rows: pd.DataFrame, labels: Labels) -> Figure | None:
    """Greedy accuracy on the validation rows in ten points; bands are 95% intervals of the mean over seeds.

    The first method of the labels, after the untrained model, is dashed in each panel.
    """
    trained = dict(per_method(rows[rows["method"] != BASE], labels))
    if not trained:
        return None
    figure, axes = grid(len(trained), height=1.9, sharex=True, sharey=True)
    x = np.arange(POINTS + 1) / POINTS * 100
    reference = next(name for name in labels if name != BASE)
    for axis, (method, mine) in zip(axes.flat, trained.items(), strict=False):
        if reference in trained:
            base = [100 * trained[reference][column].astype(float).mean() for column in CURVE]
            axis.plot(x, base, LINES[1], color=FAINT, linewidth=0.9)
        means = [mean(100 * mine[column].astype(float)) for column in CURVE]
        axis.plot(x, [one.value for one in means], color=COLOURS[0])
        axis.fill_between(x, [one.low for one in means], [one.high for one in means], color=COLOURS[0], alpha=0.18)
        axis.set_title(labels[method], fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("steps (%)")
    for axis in axes[:, 0]:
        axis.set_ylabel("accuracy (%)")
    dashed = f"Dashed: {labels[reference]}. " if reference in trained else ""
    caption(figure, f"Greedy, on the validation rows. {dashed}Bands: 95% of the mean over seeds.")
    return figure


def gaps(rows: pd.DataFrame, labels: Labels) -> Figure | None:
    """Entropy gap of each training, and the mean over seeds with its interval."""
    methods = dict(reversed([*per_method(rows, labels)]))
    if not methods:
        return None
    figure, axes = panels(1, 1, height=0.34 * len(methods) + 0.6)
    axis = axes[0][0]
    for place, mine in enumerate(methods.values()):
        values = mine["gap"].astype(float)
        one = mean(values)
        axis.plot(values, [place + 0.18] * len(values), "|", color=FAINT, markersize=5)
        axis.plot([one.low, one.high], [place, place], color=COLOURS[0], linewidth=1.6)
        axis.plot(one.value, place, "o", color=COLOURS[0])
    axis.axvline(0, color=FAINT, linewidth=0.8)
    axis.set_yticks(range(len(methods)), [labels[method] for method in methods])
    axis.set_xlabel("entropy gap, incorrect less correct (nats per token)")
    caption(figure, "Sampled responses to the held-out questions. Marks: trainings. Points: means with 95% intervals.")
    return figure


def by_step(steps: pd.DataFrame, labels: Labels) -> Figure | None:
    """What the gradients were of at each step, means over the seeds: NSR, and the kinds of groups."""
    methods = dict(per_method(steps, labels))
    if not methods:
        return None
    shown = {"nsr_share": "advantage on NSR", **{name: f"{kind} groups" for name, kind in SHARES.items()}}
    figure, axes = panels(2, 2, height=1.9, sharex=True)
    for axis, (column, title) in zip(axes.flat, shown.items(), strict=True):
        for place, (method, mine) in enumerate(methods.items()):
            means = 100 * mine.groupby("step")[column].mean()
            style = {"color": COLOURS[place % len(COLOURS)], "linestyle": LINES[place % len(LINES)]}
            axis.plot(means.index, means, label=labels[method], linewidth=1.1, **style)
        axis.set_title(title, fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("step")
    for axis in axes[:, 0]:
        axis.set_ylabel("share (%)")
    shared_legend(figure, axes)
    caption(figure, "Means over seeds. Advantage on NSR: of the sum of absolute advantages, the share of NSR's groups.")
    return figure
