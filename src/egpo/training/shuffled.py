"""The control with shuffled answers: rows to train on with each other's reference answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from egpo.common.files import atomic_path
from egpo.common.hashing import generator


def with_shuffled_answers(rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """verl's rows, each with the reference answer of the next one in a random circle."""
    order = list(range(len(rows)))
    generator(seed, "control", "shuffled answers").shuffle(order)
    following = dict(zip(order, [*order[1:], *order[:1]], strict=True))
    answers = [row["reward_model"]["ground_truth"] for row in rows]
    return [
        {**row, "reward_model": {**row["reward_model"], "ground_truth": answers[following[at]]}}
        for at, row in enumerate(rows)
    ]


def write_shuffled(train_file: Path, file: Path, seed: int) -> Path:
    """Write the rows of a parquet file with shuffled answers to another one, which is returned."""
    table = pq.read_table(train_file)
    rows = with_shuffled_answers(table.to_pylist(), seed)
    with atomic_path(file) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), temporary)
    return file
