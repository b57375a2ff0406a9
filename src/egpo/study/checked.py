"""The CSVs of a study as a page needs them: what a spreadsheet, a merge or another configuration breaks is named.

Numbers made from such rows would be wrong in silence, or end in an error that names no line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from egpo.common.errors import UserError
from egpo.common.paths import BASE
from egpo.config.experiment import Catalogue
from egpo.study import rows, steps

TEXTS = {"backbone", "method", "status", "reason", "commit", "command", "date", *rows.TEXTS}
REMEDY = "Take the file back from git, and change it in no spreadsheet, or give the study's own configuration"
ROUNDED = 1e-4  # more than the digits that a share is written with leave out


def read_rows(file: Path, catalogue: Catalogue) -> pd.DataFrame:
    """All rows; none where there is no file yet.

    Raises:
        UserError: the file is damaged, or its rows are of another experiment.
    """
    table, experiment = _whole(file, lambda: rows.read(file)), catalogue.experiment
    known = {"backbone": experiment.backbones, "method": [BASE, *catalogue.methods], "status": ["ok", "failed"]}
    for name, values in known.items():
        _refuse(file, table[name], ~table[name].isin(values), f"is not one of {', '.join(values)}")
    _check_numbers(file, table, (name for name in rows.COLUMNS if name not in TEXTS))
    _refuse(file, table["seed"], table["seed"].isna(), "is not a number")
    _check_answers(file, table[table["status"] == "ok"], len(experiment.evaluation.seeds))
    return table


def read_steps(file: Path) -> pd.DataFrame:
    """All steps beside a file of rows. Raises UserError: their file is damaged."""
    beside = steps.file_of(file)
    if beside == file:
        raise UserError(
            f"{file}: is the name of the file of the steps, which lies beside the rows: give another --out."
        )
    table = _whole(beside, lambda: steps.read(file))
    _check_numbers(beside, table, ["seed", "attempt", "step", *steps.METRICS])
    return table


def _whole(file: Path, read: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    try:
        if file.exists() and b";" in file.open("rb").readline():
            raise ValueError("a spreadsheet has put semicolons between its columns")
        return read()
    except (OSError, ValueError) as error:  # pandas' errors of a file are ValueErrors
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: is not the CSV of a study ({reason}). {REMEDY}, or another --out.") from None


def _check_numbers(file: Path, table: pd.DataFrame, names: Iterable[str]) -> None:
    for name in names:
        numbers = pd.to_numeric(table[name], errors="coerce")
        _refuse(file, table[name], numbers.isna() & table[name].notna(), "is not a number")


def _check_answers(file: Path, ok: pd.DataFrame, trials: int) -> None:
    """The digits of the answers are whole, of the same questions in every row, and give the accuracy beside them."""
    for name in ("greedy_right", "sampled_right"):
        texts = ok[name].fillna("")
        _refuse(file, ok[name], ~texts.str.fullmatch(r"\d[\d|]*"), "has not a digit for each question")
        shapes = texts.str.replace(r"\d", "0", regex=True)
        _refuse(file, ok[name], shapes != shapes.iloc[:1].squeeze(), "has other questions than the first row")
    for name, shown, most in (("greedy", "greedy_right", 1), ("sampled", "sampled_right", trials)):
        shares = ok[shown].map(lambda text: pd.Series(list(text.replace("|", ""))).astype(int).mean())
        wrong = (shares.astype(float) / most - ok[name].astype(float)).abs() > ROUNDED
        _refuse(file, ok[name], wrong, f"is not the share in {shown}, with trials: {most}")


def _refuse(file: Path, column: pd.Series, wrong: pd.Series, what: str) -> None:
    """Raise a UserError with the first line that is wrong."""
    for place, value in column[wrong].items():
        line = int(str(place)) + 2  # after the heads
        raise UserError(f"{file}: line {line}: {column.name}: {str(value)[:40]!r} {what}. {REMEDY}.")
