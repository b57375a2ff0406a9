"""The figure of a replay: where each method's gradient comes from, and how far its advantages are from the run's."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from egpo.analysis.labels import label, note
from egpo.analysis.replay import summary
from egpo.config.experiment import Catalogue
from egpo.config.methods import Method
from egpo.report.figures.style import COLOURS, caption, panels, save

PARTS = {
    "share_correct": "correct responses",
    "share_incorrect": "incorrect, mixed groups",
    "share_entirely_incorrect": "entirely incorrect groups",
}
FIRST = 5  # methods whose course over the steps is drawn: those farthest from the run


def draw(table: pd.DataFrame, methods: dict[str, Method], title: str, notes: str, out: Path) -> None:
    """Write replay.png and replay.pdf into `out`.

    Args:
        table: of egpo.analysis.replay.replay.
    """
    means = summary(table).iloc[::-1]  # bars go from below
    names = [textwrap.fill(methods[name].label, 34) for name in means.index]  # a function has its whole path
    figure, axes = panels(1, 3, height=0.9 + 0.22 * len(names))
    _shares(axes[0][0], means, names)
    _distances(axes[0][1], means)
    _course(axes[0][2], table, methods)
    figure.suptitle(title, fontsize=10)
    caption(figure, "Means over the steps. A replay: all methods on the responses that this run has visited.", notes)
    save(figure, out, "replay")


def _shares(axis: Axes, means: pd.DataFrame, names: list[str]) -> None:
    places, left = np.arange(len(means)), np.zeros(len(means))  # two methods can have the same name
    for colour, (part, text) in zip(COLOURS, PARTS.items(), strict=False):
        values = means[part].fillna(0).to_numpy()
        axis.barh(places, values, left=left, color=colour, label=text, height=0.7)
        left += values
    axis.set_yticks(places, names)
    axis.set_ylim(-0.5, len(means) - 0.5)
    axis.set_xlim(0, 1)
    axis.set_title("share of the gradient's magnitude", fontsize=9)
    axis.legend(loc="upper center", bbox_to_anchor=(0.4, -0.08), fontsize=7, ncols=1)
    axis.tick_params(axis="y", labelsize=8)


def _distances(axis: Axes, means: pd.DataFrame) -> None:
    places = np.arange(len(means))
    axis.plot(means["correlation"], places, "o", color=COLOURS[0], markersize=5)
    for place, (far, flipped) in enumerate(zip(means["correlation"], means["flipped"], strict=True)):
        if flipped > 0:
            beside: dict[str, Any] = (
                {"xytext": (7, 0), "ha": "left"} if far < 0.5 else {"xytext": (-7, 0), "ha": "right"}
            )
            text = f"{flipped:.1%} flipped"
            axis.annotate(text, (far, place), textcoords="offset points", va="center", fontsize=7, **beside)
    axis.set_yticks(places, [])
    axis.set_ylim(-0.5, len(means) - 0.5)
    axis.set_xlim(min(0.0, np.nanmin(means["correlation"].to_numpy(), initial=0.0)) - 0.05, 1.05)
    axis.set_title("correlation with the run's advantages", fontsize=9)


def _course(axis: Axes, table: pd.DataFrame, methods: dict[str, Method]) -> None:
    """The correlation by step, of the methods that are farthest from the run but have one."""
    course = table[table["measure"] == "correlation"].pivot_table(index="step", columns="method", values="value")
    different = ~course.round(6).T.duplicated()  # GRPO and DAPO give the same advantages to the same responses
    far = course.loc[:, different].mean().sort_values().index[:FIRST]
    for colour, name in zip(COLOURS, far, strict=False):
        window = max(1, len(course) // 8)
        smooth = course[name].rolling(window, center=True, min_periods=1).mean()
        axis.plot(smooth.index, smooth, color=colour, label=textwrap.fill(methods[name].label, 34))
    axis.set_xlabel("training step")
    axis.set_title("by step, for the least correlated", fontsize=9)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize=7, ncols=1)


def replay_figure(catalogue: Catalogue, replayed: Path, out: Path) -> None:
    """Write replay.png and replay.pdf into `out`: of the first backbone's first training of the main method.

    Args:
        replayed: replay.csv.
    """
    table = pd.read_csv(replayed)
    backbone, method, seed = table[["backbone", "run", "seed"]].iloc[0]
    mine = table[(table["backbone"] == backbone) & (table["seed"] == seed)]
    title = f"Every method on the responses of {label(catalogue, backbone, method)}, seed {seed}"
    draw(mine, catalogue.methods, title, note(catalogue), out)
