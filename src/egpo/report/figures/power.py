"""The figure of `egpo power`: the smallest difference that is found, by the number of training seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from egpo.report.figures.style import COLOURS, LINES, caption, panels, save, shared_legend


def draw(least: pd.DataFrame, gain: float, labels: dict[str, str], title: str, out: Path) -> None:
    """Write power.png and power.pdf into `out`: a panel for each backbone, a line for each benchmark.

    Args:
        least: backbone, benchmark, seeds, smallest, low, high, in points.
        gain: in points; a line marks it.
        labels: of benchmarks.
    """
    backbones = list(dict.fromkeys(least["backbone"]))
    figure, axes = panels(1, len(backbones), height=3.2)
    for axis, backbone in zip(axes[0], backbones, strict=True):
        mine = least[least["backbone"] == backbone]
        for number, (benchmark, rows) in enumerate(mine.groupby("benchmark", sort=False)):
            colour = COLOURS[number % len(COLOURS)]
            known = rows[np.isfinite(rows["smallest"])]
            line = LINES[number % len(LINES)]
            axis.plot(known["seeds"], known["smallest"], line, marker="o", markersize=3, color=colour,
                      label=labels[str(benchmark)])  # fmt: skip
            high = known["high"].clip(upper=100)  # inf: no difference is found
            axis.fill_between(known["seeds"], known["low"], high, color=colour, alpha=0.12, linewidth=0)
        axis.axhline(gain, color="#555555", linewidth=0.8)
        axis.annotate(f"{gain:g} points", (0.98, gain), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                      fontsize=7)  # fmt: skip
        # A logarithmic axis needs a number: there is none where nothing varies, for example if all answers are right.
        if np.isfinite(mine["smallest"]).any():
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
        ticks = sorted(set(least["seeds"]))
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.set_title(backbone, fontsize=9)
        axis.set_xlabel("training seeds of each method")
    axes[0][0].set_ylabel("smallest difference found (points)")
    shared_legend(figure, axes)
    caption(figure, f"{title}. Found in 80% of the cases, two-sided at 5%. One seed: between two trained models.")
    save(figure, out, "power")
