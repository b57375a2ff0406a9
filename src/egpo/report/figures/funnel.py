"""The data funnel as a figure: rows left after each step that drops any, by subset and bucket."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from egpo.data.funnel import ALL
from egpo.report.figures.style import COLOURS, caption, panels, save


def funnel_figure(note: str, funnel: Path, out: Path) -> None:
    """Write funnel.png and .pdf into `out`, the first step on top.

    Args:
        note: of the experiment.
        funnel: funnel.csv of the data stage.
    """
    table = pd.read_csv(funnel, keep_default_na=False)
    whole = table[table["subset"] == ALL].set_index("step")
    steps = whole.index[whole["dropped"] > 0].tolist()
    strata = table[table["subset"] != ALL].groupby(["subset", "bucket"])
    labels = ["all rows", *(f"{step} (-{whole.loc[step, 'dropped']:,})" for step in steps)]
    figure, axes = panels(1, 1, height=0.3 + 0.24 * len(labels))
    axis = axes[0][0]
    left = pd.Series(0, index=labels)
    for index, ((subset, bucket), rows) in enumerate(strata):
        counts = rows.groupby("step", sort=False)[["in", "out"]].sum()
        widths = pd.Series([counts["in"].iloc[0], *counts.loc[steps, "out"]], index=labels)
        axis.barh(labels, widths, left=left, height=0.8, color=COLOURS[index], label=f"{subset}, {bucket}")
        left += widths
    for place, total in enumerate(left):
        axis.text(total, place, f" {total:,}", va="center", fontsize=7)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.set_xlim(0, left.iloc[0] * 1.12)
    axis.set_xlabel("rows left after each step that drops any")
    axis.legend(loc="lower right", fontsize=7)
    caption(figure, note)
    save(figure, out, "funnel")
