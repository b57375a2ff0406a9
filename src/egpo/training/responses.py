"""The record of every response of a training: a row for each, and the texts of a few groups of each step.

While a training runs, each step has a file of its own; at the end they become responses.parquet and samples.jsonl.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from egpo.common.files import atomic_path, write_text

NAMES = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("problem", NAMES),  # the uuid of the data stage
        ("group", NAMES),  # verl's uid of the prompt in this step
        ("rollout", pa.int16()),
        ("reward", pa.float32()),
        ("correct", pa.bool_()),
        ("length", pa.int32()),  # tokens
        ("truncated", pa.bool_()),
        # Nats per token. None: the tokenizer has no </think>. nan: the response has no token there.
        ("entropy", pa.float32()),  # of the sampled tokens of the whole response, Eq. (5)
        ("entropy_thinking", pa.float32()),
        ("entropy_answer", pa.float32()),
        ("entropy_distribution", pa.float32()),  # Shannon entropy of the next-token distributions
        ("entropy_used", pa.float32()),  # by the method
        ("weight", pa.float32()),
        ("base", pa.float32()),  # advantage before the weight
        ("advantage", pa.float32()),
        ("kind", NAMES),  # of the group: mixed, entirely_correct, entirely_incorrect
    ]
)
RESPONSES, SAMPLES = "responses.parquet", "samples.jsonl"
FOLDER = "responses"  # of the work folder


def _files(work: Path, suffix: str) -> dict[int, Path]:
    """The file of each step that has one, in order."""
    found = {int(file.stem): file for file in (work / FOLDER).glob(f"*{suffix}") if re.fullmatch(r"\d+", file.stem)}
    return dict(sorted(found.items()))


def write_step(work: Path, step: int, table: pa.Table, samples: Iterable[dict[str, Any]]) -> None:
    """Write a step's responses, each file whole; a step that is repeated after a resume replaces its files."""
    folder = work / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{step:07d}.jsonl", "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in samples))
    with atomic_path(folder / f"{step:07d}.parquet") as temporary:
        pq.write_table(table, temporary)


def forget_after(work: Path, step: int) -> None:
    """Remove the responses of steps after `step`, which a resumed training repeats."""
    for suffix in (".parquet", ".jsonl"):
        for number, file in _files(work, suffix).items():
            if number > step:
                file.unlink()


def step_files(work: Path) -> list[Path]:
    """The file of each step so far, in order."""
    return list(_files(work, ".parquet").values())


def join(work: Path, out: Path) -> None:
    """Write responses.parquet and samples.jsonl of a finished training into `out`."""
    with (
        atomic_path(out / RESPONSES) as temporary,
        pq.ParquetWriter(temporary, SCHEMA, compression="zstd", version="2.6") as writer,
    ):
        for file in step_files(work):
            writer.write_table(pq.read_table(file, schema=SCHEMA))
    with atomic_path(out / SAMPLES) as temporary, temporary.open("w") as lines:
        for file in _files(work, ".jsonl").values():
            lines.write(file.read_text())
