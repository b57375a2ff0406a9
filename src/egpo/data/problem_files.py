"""A user's files of problems and answers as rows of OpenR1-Math's schema; the other columns are empty."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.config.data import ProblemsSource
from egpo.data.schema import FOLDERS, SCHEMA, write_shards

ROWS_PER_SHARD = 10_000


def files_of(source: ProblemsSource) -> list[Path]:
    """The .jsonl and .parquet files of the source, by name; empty if there is none."""
    place = ROOT / source.path
    found = place.iterdir() if place.is_dir() else [place]
    return sorted(file for file in found if file.suffix in (".jsonl", ".parquet") and file.is_file())


def _read_lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except ValueError as error:  # of UTF-8 as well
                raise UserError(f"{file}: line {number} is not JSON ({error}): give one object per line.") from None
            if not isinstance(row, dict):
                raise UserError(f"{file}: line {number} is not a JSON object: give one object per line.")
            yield row


def _read(file: Path) -> Iterator[dict[str, Any]]:
    if file.suffix == ".jsonl":
        yield from _read_lines(file)
        return
    try:
        for batch in pq.ParquetFile(file).iter_batches():
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file}: not a readable parquet file ({error}): make it again.") from None


def _text(row: dict[str, Any], key: str, source: ProblemsSource, file: Path) -> str:
    """The value of the column that `source` names under `key`; "" for null."""
    column = getattr(source, key)
    if column not in row:
        raise UserError(
            f"data.source.{key}: '{column}' is not a column of {file}, which has {', '.join(row)}. Name the column "
            f"that holds the {key}."
        )
    value = row[column]
    if not isinstance(value, str | int | float | None):
        raise UserError(f"{file}: {column} {value!r} is neither text nor a number: write it as the {key}'s text.")
    return "" if value is None else str(value)


def rows(source: ProblemsSource) -> Iterator[dict[str, Any]]:
    """Rows of SCHEMA; the uuid is a hash of problem and answer, so that repeated rows are dropped as `duplicate-uuid`.

    Raises:
        UserError: for a broken file, and for one without one of the columns.
    """
    for file in files_of(source):
        for row in _read(file):
            problem, answer = (_text(row, key, source, file) for key in ("problem", "answer"))
            if source.answer_after is not None:
                answer = answer.rpartition(source.answer_after)[2]
            uuid = hashlib.blake2b(f"{problem}\n\n{answer}".encode(), digest_size=16).hexdigest()
            yield {"uuid": uuid, "problem": problem, "answer": answer, "source": file.stem}


def write_problems(source: ProblemsSource, folder: Path) -> None:
    """Write the problems as shards of the subset `default` under `folder`; `extended` has a shard without rows."""
    total = sum(1 for _ in rows(source))
    write_shards(rows(source), ROWS_PER_SHARD, total, folder / FOLDERS["default"])
    empty = folder / FOLDERS["extended"]
    empty.mkdir(parents=True, exist_ok=True)
    pq.write_table(SCHEMA.empty_table(), empty / "train-00000-of-00001.parquet")
