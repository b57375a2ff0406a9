"""The second CSV of a study, beside the first: a row for each step of each training that ended well."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from egpo.common.hashing import stable_hash
from egpo.study import csv_file
from egpo.study.csv_file import Row
from egpo.study.rows import ORIGIN, TRAINING
from egpo.training.progress import REWARD

METRICS = {
    "reward": REWARD,
    "length": "response_length/mean",
    "truncated": "response_length/clip_ratio",
    "grad_norm": "actor/grad_norm",
    "entropy_correct": "egpo/entropy/correct/mean",
    "entropy_incorrect": "egpo/entropy/incorrect/mean",
    "mixed": "egpo/groups/mixed",
    "entirely_correct": "egpo/groups/entirely_correct",
    "entirely_incorrect": "egpo/groups/entirely_incorrect",
    "weight_correct": "egpo/weight/correct/mean",
    "weight_incorrect": "egpo/weight/incorrect/mean",
    "nsr_share": "egpo/nsr_share",
}
KEY = [*TRAINING, "origin"]  # the origin in short: a seed may have been trained from several
COLUMNS = [*KEY, "step", *METRICS]


def file_of(rows: Path) -> Path:
    """The file beside that of the rows."""
    return rows.with_name("steps.csv")


def of_lines(lines: list[Row]) -> list[Row]:
    """The columns that come from the lines of a training's metrics."""
    return [
        {"step": line["step"]} | {name: line[metric] for name, metric in METRICS.items() if metric in line}
        for line in lines
    ]


def read(rows: Path) -> pd.DataFrame:
    """All steps beside a file of rows.

    Raises:
        UserError: the file has other columns.
    """
    return csv_file.read(file_of(rows), COLUMNS, ["origin"])


def append(rows: Path, row: Row, steps: list[Row]) -> None:
    """Add the steps of a training, unless they are there: a run may have been killed before it had added the row."""
    key = key_of(row)
    known = read(rows)
    if not (known[KEY].astype(str) == pd.Series(key).astype(str)).all(axis=1).any():
        csv_file.append(file_of(rows), COLUMNS, [key | step for step in steps], digits=4)


def key_of(row: Row | pd.Series) -> Row:
    """The columns KEY of the steps of a row."""
    return {name: row[name] for name in TRAINING} | {"origin": stable_hash([row[name] for name in ORIGIN])[:8]}


def of_rows(steps: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The steps of some rows."""
    keys = {tuple(key_of(row).values()) for _, row in rows.iterrows()}
    return steps.loc[[key in keys for key in steps[KEY].itertuples(index=False, name=None)]]
