"""A CSV with fixed columns that grows row by row. Those of a study are committed, so they are small."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from egpo.common.errors import UserError
from egpo.common.files import write_text

Row = dict[str, Any]


def read(file: Path, columns: Sequence[str], texts: Iterable[str]) -> pd.DataFrame:
    """All rows; none where there is no file yet.

    Args:
        texts: columns that are text, whatever they look like.

    Raises:
        UserError: the file has other columns.
    """
    if not file.exists():
        return pd.DataFrame(columns=list(columns))
    table = pd.read_csv(file, dtype=dict.fromkeys(texts, str))
    if list(table.columns) != list(columns):
        odd = sorted(set(table.columns) ^ set(columns)) or ["their order"]
        raise UserError(f"{file}: has other columns than this code writes ({', '.join(odd)}): give another --out.")
    return table


def append(file: Path, columns: Sequence[str], rows: Iterable[Row], digits: int) -> None:
    """Write the file anew with more rows, whole or not at all.

    Args:
        digits: of a number that is not whole.

    Raises:
        ValueError: a row has a name that is no column.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    if not file.exists():
        writer.writeheader()
    for row in rows:
        if odd := row.keys() - set(columns):
            raise ValueError(f"no columns of {file.name}: {sorted(odd)}")
        writer.writerow({name: _text(value, digits) for name, value in row.items()})
    write_text(file, (file.read_text() if file.exists() else "") + text.getvalue())


def _text(value: Any, digits: int) -> Any:
    if isinstance(value, float):
        return "" if value != value else f"{value:.{digits}g}"
    return " ".join(value.split()) if isinstance(value, str) else value  # a reason may have several lines
