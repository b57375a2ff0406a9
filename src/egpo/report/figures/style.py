"""One look for all figures: readable in print and by colour-blind readers."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by colour-blind readers; with the line style as a second cue.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
WIDTH = 9.5  # inches, of every figure: shown at one width, all have the same font size

plt.rcParams.update(
    {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#dddddd",
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "pdf.fonttype": 42,  # text stays text in the PDF
        "savefig.dpi": 200,
    }
)


def panels(rows: int, columns: int, height: float = 2.3, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure of the one width and its axes (rows, columns); height: of one panel, in inches."""
    size = (WIDTH, height * rows + 0.9)
    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **options)


def grid(count: int, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure and its axes (rows, columns), at most three in a row; those beyond `count` are not shown."""
    rows = -(-count // 3)
    figure, axes = panels(rows, -(-count // rows), height, **options)  # four are two and two
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure, axes


def caption(figure: Figure, *texts: str) -> None:
    """Small text below a figure, wrapped to its width."""
    # matplotlib would set what stands between two dollar signs as mathematics.
    text = " ".join(filter(None, texts)).replace("$", r"\$")
    lines = textwrap.wrap(text, int(WIDTH * 17))
    if lines:
        figure.supxlabel("\n".join(lines), fontsize=7, color="#555555", x=0.01, ha="left")


def shared_legend(figure: Figure, axes: np.ndarray) -> None:
    """One legend for all panels, above them."""
    found = {name: handle for axis in axes.flat for handle, name in zip(*axis.get_legend_handles_labels(), strict=True)}
    if found:
        inches = 0.5 + 0.065 * max(map(len, found))  # of an entry: its line, and its name at this size
        columns = max(1, min(len(found), int(WIDTH / inches)))
        figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=columns, fontsize=8)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write <name>.png and <name>.pdf, without dates: the same figure gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", metadata={"Software": None})
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    plt.close(figure)
