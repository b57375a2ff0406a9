"""Reading what `egpo.uncertainty.rollouts` reads and writes, without the imports that making it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from egpo.common.errors import UserError
from egpo.inference.decoding import METADATA

Problem = dict[str, Any]


def read_problems(file: Path) -> list[Problem]:
    """Rows in verl's format."""
    return pq.read_table(file).to_pylist()


def how_made(path: Path) -> dict[str, Any]:
    """The settings that the rollouts in a file were made with. Raises UserError for a file that has none."""
    try:
        return json.loads((pq.read_schema(path).metadata or {})[METADATA])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not the rollouts of a model ({error}). Delete it and run again.") from None


def read_rollouts(path: Path, columns: list[str]) -> Iterator[pa.Table]:
    """Some columns of a file of rollouts, in batches of rows; raises as `how_made`."""
    how_made(path)
    for batch in pq.ParquetFile(path).iter_batches(batch_size=256, columns=columns):
        yield pa.Table.from_batches([batch])
