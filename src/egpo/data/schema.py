"""OpenR1-Math's columns, and reading and writing its shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from egpo.common.errors import UserError
from egpo.common.files import is_hidden, is_lfs_pointer, lfs_remedy
from egpo.data.reference_answers import unboxed

SCHEMA = pa.schema(
    [
        ("problem", pa.string()),
        ("solution", pa.string()),
        ("answer", pa.string()),
        ("problem_type", pa.string()),
        ("question_type", pa.string()),
        ("source", pa.string()),
        ("uuid", pa.string()),
        ("is_reasoning_complete", pa.list_(pa.bool_())),
        ("generations", pa.list_(pa.string())),
        ("correctness_math_verify", pa.list_(pa.bool_())),
        ("correctness_llama", pa.list_(pa.bool_())),
        ("finish_reasons", pa.list_(pa.string())),
        ("correctness_count", pa.int64()),
        ("messages", pa.list_(pa.struct([("content", pa.string()), ("role", pa.string())]))),
    ]
)
# The columns that are read. `messages` repeats a generation and is the larger half of a file.
NEEDED = (
    "uuid",
    "problem",
    "solution",
    "answer",
    "question_type",
    "source",
    "generations",
    "correctness_math_verify",
    "correctness_count",
)
# Folder of each subset, in the order of preference between duplicates.
FOLDERS = {"default": "data", "extended": "extended"}
BATCH = 250  # about ten million characters of the real data


@dataclass(frozen=True)
class Row:
    """A source row with the columns that the chain reads; null texts are empty, a null source is "unknown".

    Attributes:
        answer: without blanks, dollars or a box around it.
        correct: math-verify's verdict on each of the `generations`.
    """

    subset: str
    uuid: str
    problem: str
    solution: str
    answer: str
    question_type: str
    source: str
    generations: tuple[str, ...]
    correct: tuple[bool, ...]
    correctness_count: int


def shards(folder: Path) -> dict[str, list[Path]]:
    """The parquet files of each subset, by name, without hidden ones. Raises UserError where a subset has none."""
    found = {}
    for subset, name in FOLDERS.items():
        files = sorted(file for file in (folder / name).glob("*.parquet") if not is_hidden(file))
        if not files:
            raise UserError(
                f"{folder / name}: no parquet file in this folder. data.source must have OpenR1-Math's two folders "
                f"of shards, {' and '.join(f'{part}/*.parquet' for part in FOLDERS.values())}."
            )
        found[subset] = files
    return found


def open_shard(file: Path) -> pq.ParquetFile:
    """A shard, its footer read and its columns checked. Raises UserError for a broken file or a missing column."""
    if is_lfs_pointer(file):
        raise UserError(lfs_remedy(file))
    try:
        parquet = pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise _broken(file, error) from None
    missing = [column for column in NEEDED if column not in parquet.schema_arrow.names]
    if missing:
        raise UserError(
            f"{file}: column {', '.join(missing)} is missing. Its columns are {', '.join(parquet.schema_arrow.names)}; "
            f"OpenR1-Math's schema is in src/egpo/data/schema.py."
        )
    return parquet


def _broken(file: Path, error: Exception) -> UserError:
    reason = str(error).splitlines()[0]
    return UserError(
        f"{file}: not a readable parquet file ({reason}). It is corrupt or was cut off: fetch or make it again."
    )


def _conform(batch: pa.RecordBatch, file: Path) -> pa.RecordBatch:
    """The needed columns in the types of SCHEMA, from any order and any compatible types."""
    columns = []
    for name in NEEDED:
        column, wanted = batch.column(name), SCHEMA.field(name).type
        try:
            columns.append(column.cast(wanted))
        except pa.ArrowException:
            raise UserError(f"{file}: column {name} is of type {column.type}, expected {wanted}.") from None
    return pa.RecordBatch.from_arrays(columns, names=list(NEEDED))


def verdicts(flags: list[bool | None] | None, generations: int) -> tuple[bool, ...]:
    """One flag per generation: null and missing ones are False."""
    given = [bool(flag) for flag in flags or ()][:generations]
    return tuple(given + [False] * (generations - len(given)))


def _row(values: dict[str, Any], subset: str, file: Path) -> Row:
    if not values["uuid"]:
        raise UserError(f"{file}: a row has no uuid. Rows are sampled and traced by uuid: give every row one.")
    generations = tuple(text or "" for text in values["generations"] or ())
    texts = {name: values[name] or "" for name in ("problem", "solution", "question_type")}
    return Row(
        subset=subset,
        uuid=values["uuid"],
        answer=unboxed(values["answer"] or ""),
        source=values["source"] or "unknown",
        generations=generations,
        correct=verdicts(values["correctness_math_verify"], len(generations)),
        correctness_count=values["correctness_count"] or 0,
        **texts,
    )


def read_shard(file: Path, subset: str) -> Iterator[list[Row]]:
    """The rows of a shard in lists of at most BATCH, so that memory does not grow with the file."""
    batches = open_shard(file).iter_batches(batch_size=BATCH, columns=list(NEEDED))
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise _broken(file, error) from None
        if batch is None:
            return
        yield [_row(values, subset, file) for values in _conform(batch, file).to_pylist()]


def write_shards(rows: Iterator[dict[str, Any]], rows_per_shard: int, total: int, folder: Path) -> None:
    """Write rows of SCHEMA as `train-00000-of-0000n.parquet`, the names the Hub gives to shards."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.parquet"):
        stale.unlink()
    count = -(-total // rows_per_shard)
    for index in range(count):
        table = pa.Table.from_pylist(list(islice(rows, rows_per_shard)), schema=SCHEMA)
        pq.write_table(table, folder / f"train-{index:05d}-of-{count:05d}.parquet")
