"""The table of what trainings have learned on their own problems, the same ones at two times."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from egpo.analysis.labels import label, note
from egpo.analysis.learning import first_and_last
from egpo.analysis.statistics import Difference, paired
from egpo.common.files import write_text
from egpo.common.paths import Model
from egpo.config.experiment import Catalogue
from egpo.report.document import document, markdown_table

HEAD = ["Training", "Problems that came again", "Right at first, %", "Right at last, %", "Difference, points"]


def _difference(shares: pd.DataFrame) -> Difference:
    first, last = (np.asarray(shares[name], dtype=float)[None, :, None] for name in ("first", "last"))
    return paired(last, first)


def _row(name: str, shares: pd.DataFrame) -> tuple[list[str], dict[str, float]]:
    """A row of the table, and its numbers: shares 0 to 1."""
    numbers: dict[str, float] = {"problems": len(shares)}
    if shares.empty:
        return [name, "0", "", "", ""], numbers
    found = _difference(shares)
    numbers |= {"first": shares["first"].mean(), "last": shares["last"].mean()}
    numbers |= {"difference": found.mean, "se": found.se, "low": found.low, "high": found.high}
    points = {key: f"{100 * value:.1f}" for key, value in numbers.items()}
    interval = "" if math.isnan(found.se) else f" [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    difference = f"{100 * found.mean:+.1f}{interval}"
    return [name, str(len(shares)), points["first"], points["last"], difference], numbers


def write_learned(catalogue: Catalogue, trained: dict[Model, Path], out: Path) -> None:
    """Write learned.md and learned.csv into `out`.

    Args:
        trained: `responses.parquet` of each training.
    """
    rows, texts = [], []
    for (backbone, method, seed), file in trained.items():
        responses = pd.read_parquet(file, columns=["problem", "step", "correct"])
        text, numbers = _row(f"{label(catalogue, backbone, method)}, seed {seed}", first_and_last(responses))
        texts.append(text)
        rows.append({"backbone": backbone, "method": method, "seed": seed, **numbers})
    lines = [
        "# What was learned on the problems of the training",
        "",
        "The rollouts of problems that a training came to more than once: the first time against the last, with the "
        "95% interval of the paired difference over problems. It is learning on these problems, and says nothing about "
        "others: for those see Table 1.",
        "",
        *markdown_table(HEAD, texts),
    ]
    write_text(out / "learned.md", document(lines, note(catalogue)))
    write_text(out / "learned.csv", pd.DataFrame(rows).to_csv(index=False, float_format="%.6g"))
