"""Figures 3 and 5 to 9 of the paper: entropies of correct and incorrect responses, for every backbone."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import gaussian_kde

from egpo.analysis.labels import label, note
from egpo.common.paths import BASE, Model
from egpo.config.experiment import Catalogue
from egpo.report.figures.style import COLOURS, LINES, caption, grid, panels, save, shared_legend
from egpo.uncertainty.diagnosis import Diagnosis, diagnose
from egpo.uncertainty.measures import auc, gap, roc

CORRECT, INCORRECT = (COLOURS[0], "-", "correct"), (COLOURS[1], "--", "incorrect")
MARKS = {"correct": "o", "incorrect": "x"}
POINTS = 400  # of a density's curve
MOST_DOTS = 2000  # of a scatter plot; the others are left out by trial, from the last
Found = dict[tuple[str, str], Diagnosis]


def density(values: np.ndarray, grid: np.ndarray) -> np.ndarray | None:
    """Gaussian kernel density (Scott's bandwidth) on the grid; None for fewer than two different values."""
    return gaussian_kde(values)(grid) if len(np.unique(values)) > 1 else None


def _caption(catalogue: Catalogue, figure: Figure, text: str) -> None:
    """Below a figure: what it shows, and of which rollouts."""
    experiment = catalogue.experiment
    chosen = experiment.uncertainty
    assert chosen is not None
    rollouts = f"{experiment.data.heldout_rows} held-out problems, {chosen.rollouts_per_prompt} responses each"
    caption(figure, text, f"{rollouts}; training seeds: {len(experiment.training_seeds)}.", note(catalogue))


def _sides(table: pd.DataFrame) -> Iterable[tuple[tuple[str, str, str], pd.DataFrame]]:
    yield CORRECT, table[table["correct"]]
    yield INCORRECT, table[~table["correct"]]


def _densities(axis: Axes, one: Diagnosis, part: str) -> None:
    """Densities and means of both outcomes, the numbers of responses, and the gap."""
    table = one.of(part)
    values = table[part].to_numpy(float)
    top = max(np.quantile(values, 0.995) * 1.1, 1e-6) if len(values) else 1.0
    grid = np.linspace(0, top, POINTS)
    counts = []
    for (colour, line, name), rows in _sides(table):
        entropies = rows[part].to_numpy(float)
        counts.append(f"{len(entropies)} {name}")
        curve = density(entropies, grid)
        if curve is not None:
            axis.plot(grid, curve, line, color=colour, label=name)
            axis.fill_between(grid, curve, color=colour, alpha=0.12, linewidth=0)
        if len(entropies):
            axis.axvline(entropies.mean(), color=colour, linestyle=line, linewidth=0.9)
    found = gap(values, ~table["correct"].to_numpy(bool))
    text = "\n".join([*counts, *([] if np.isnan(found) else [f"gap {found:+.3f}"])])
    axis.text(0.98, 0.97, text, transform=axis.transAxes, fontsize=7, va="top", ha="right")
    axis.set_xlim(0, top)
    axis.set_ylim(bottom=0)
    axis.set_yticks([])


def density_figure(catalogue: Catalogue, found: Found, out: Path) -> None:
    """Figure 3: densities of the response entropy, a panel per backbone and method."""
    figure, axes = grid(len(found), height=2.3)
    for axis, one in zip(axes.flat, found.values(), strict=False):
        _densities(axis, one, "response")
        axis.set_title(textwrap.fill(label(catalogue, one.backbone, one.method), 40), fontsize=8)
        axis.set_xlabel("response entropy (nats per token)", fontsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel("density")
    shared_legend(figure, axes)
    _caption(
        catalogue, figure, "Kernel densities of the response entropy; vertical lines: means; gap: their difference."
    )
    save(figure, out, "entropy_density")


def roc_figure(catalogue: Catalogue, found: Found, out: Path) -> None:
    """Figure 5: ROC curves for predicting that a response is incorrect, a panel per backbone."""
    bases = _bases(found)
    figure, axes = panels(1, len(bases), height=3.2, sharey=True)
    for axis, one in zip(axes[0], bases, strict=True):
        for index, part in enumerate(one.parts):
            value = auc(one.entropies(part), one.incorrect)
            if not np.isnan(value):
                name = f"{part} (AUC {value:.3f})"
                line = LINES[index % len(LINES)]
                axis.plot(*roc(one.entropies(part), one.incorrect), line, color=COLOURS[index], label=name)
        axis.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
        axis.set_title(label(catalogue, one.backbone, one.method), fontsize=8)
        axis.set_xlabel("false positive rate")
        axis.set_aspect("equal")
        if axis.get_legend_handles_labels()[1]:
            axis.legend(loc="lower right", fontsize=7)
    axes[0][0].set_ylabel("true positive rate")
    _caption(catalogue, figure, "A response is called incorrect when its entropy is above a threshold.")
    save(figure, out, "entropy_roc")


def length_figure(catalogue: Catalogue, found: Found, out: Path) -> None:
    """Figures 7 and 9: length against entropy, of the answer where there are thoughts, else of the response."""
    bases = _bases(found)
    figure, axes = panels(1, len(bases), height=2.9)
    for axis, one in zip(axes[0], bases, strict=True):
        part = "answer" if one.thinks else "response"
        _scatter(axis, one.used, f"{part}_tokens", part)
        axis.set_title(label(catalogue, one.backbone, one.method), fontsize=8)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel(f"{part} length (tokens)")
        axis.set_ylabel(f"{part} entropy (nats per token)")
    shared_legend(figure, axes)
    _caption(catalogue, figure, f"One mark per response, at most {MOST_DOTS}.")
    save(figure, out, "entropy_length")


def parts_figure(catalogue: Catalogue, found: Found, out: Path) -> None:
    """Figures 6 and 8, and thinking against answer entropy: a row per backbone with thoughts."""
    bases = [one for one in _bases(found) if one.thinks]
    figure, axes = panels(len(bases), 3)
    for row, one in zip(axes, bases, strict=True):
        for axis, part in zip(row, ("thinking", "answer"), strict=False):
            _densities(axis, one, part)
            axis.set_xlabel(f"{part} entropy (nats per token)", fontsize=8)
            axis.set_title(label(catalogue, one.backbone, one.method), fontsize=8)
        row[0].set_ylabel("density")
        _scatter(row[2], one.used, "thinking", "answer")
        row[2].set_title(label(catalogue, one.backbone, one.method), fontsize=8)
        row[2].set_xlabel("thinking entropy (nats per token)", fontsize=8)
        row[2].set_ylabel("answer entropy (nats per token)", fontsize=8)
    shared_legend(figure, axes[:, :2])
    _caption(
        catalogue,
        figure,
        f"Left and middle: kernel densities, with means. Right: one mark per response, at most {MOST_DOTS}.",
    )
    save(figure, out, "entropy_parts")


def _scatter(axis: Axes, table: pd.DataFrame, x: str, y: str) -> None:
    table = table.sort_values("trial", kind="stable").head(MOST_DOTS)
    for (colour, _, name), rows in _sides(table):
        axis.scatter(rows[x], rows[y], s=9, marker=MARKS[name], color=colour, alpha=0.5, linewidths=0.8, label=name)


def _bases(found: Found) -> list[Diagnosis]:
    """The untrained backbones, which Section 4.5 and A.4 are about."""
    return [one for (_, method), one in found.items() if method == BASE]


def write_entropy_figures(catalogue: Catalogue, measures: dict[Model, Path], out: Path) -> None:
    """Write entropy_density, entropy_roc, entropy_length and, where a model thinks, entropy_parts into `out`.

    Args:
        measures: `measures.parquet` of each model.

    Raises:
        UserError: a file does not hold what the experiment asks for.
    """
    found = diagnose(catalogue, measures)
    density_figure(catalogue, found, out)
    roc_figure(catalogue, found, out)
    length_figure(catalogue, found, out)
    if any(one.thinks for one in _bases(found)):
        parts_figure(catalogue, found, out)
