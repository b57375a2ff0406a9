"""Row filters shard by shard, in several processes. A shard that was filtered once is not filtered again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from egpo.common.files import atomic_path, sha256
from egpo.common.hashing import stable_hash
from egpo.common.provenance import code_version
from egpo.config.data import Data, ProblemsSource
from egpo.data.filters import REASONS, ParsedRow, bucket, flags
from egpo.data.lengths import load_tokenizer, parse
from egpo.data.schema import read_shard
from egpo.data.source import Prepared
from egpo.runtime.processes import end_with_parent

Report = Callable[[str], None]

COLUMNS = pa.schema(
    [
        ("uuid", pa.string()),
        ("subset", pa.string()),
        ("source", pa.string()),
        ("bucket", pa.string()),
        ("problem", pa.string()),
        ("answer", pa.string()),
        ("generations", pa.int32()),
        ("correctness_count", pa.int64()),
        ("prompt_tokens", pa.int32()),
        ("response_tokens", pa.int32()),
        *((reason, pa.bool_()) for reason in REASONS),
    ]
)
# What a row's flags depend on.
SETTINGS = ("question_types", "min_generations", "max_prompt_tokens", "max_response_tokens")


@dataclass(frozen=True)
class Task:
    """One shard to filter: its file, its subset and where its table goes."""

    shard: Path
    subset: str
    out: Path


def record(item: ParsedRow, data: Data) -> dict[str, Any]:
    """What the chain keeps of a row: not the generations, which are nearly all of its size."""
    row = item.row
    return {
        "uuid": row.uuid,
        "subset": row.subset,
        "source": row.source,
        "bucket": "unknown" if isinstance(data.source, ProblemsSource) else bucket(row.correct),
        "problem": row.problem,
        "answer": row.answer.strip(),
        "generations": len(row.generations),
        "correctness_count": row.correctness_count,
        "prompt_tokens": item.prompt_tokens,
        "response_tokens": item.response_tokens,
        **flags(item, data),
    }


def filtered(shard: Path, subset: str, data: Data, tokenizer: PreTrainedTokenizerBase) -> Iterator[pa.RecordBatch]:
    """The rows of a shard with bucket, lengths and a flag per reason, in batches."""
    for rows in read_shard(shard, subset):
        records = [record(item, data) for item in parse(rows, tokenizer, data.max_response_tokens)]
        yield pa.RecordBatch.from_pylist(records, schema=COLUMNS)


_tokenizer = cache(load_tokenizer)  # once in each process


def _filter(task: Task, data: Data, tokenizer: str) -> int:
    """Write the table of one shard; returns its number of rows."""
    count = 0
    with atomic_path(task.out) as temporary, pq.ParquetWriter(temporary, COLUMNS) as writer:
        for batch in filtered(task.shard, task.subset, data, _tokenizer(tokenizer)):
            writer.write_batch(batch)
            count += batch.num_rows
    return count


def _tokenizer_hashes(tokenizer: Path | str) -> dict[str, str]:
    """Hashes of the files of a tokenizer; only its name if it is not a folder."""
    files = {file for pattern in ("*token*", "vocab*", "merges*", "*.jinja") for file in Path(tokenizer).glob(pattern)}
    return {file.name: sha256(file) for file in sorted(files)} or {str(tokenizer): ""}


def tasks(source: Prepared, data: Data, tokenizer: Path | str, work: Path) -> list[Task]:
    """A task for every shard; the name of its table is a hash of everything that the table depends on."""
    common = {
        "settings": {name: getattr(data, name) for name in SETTINGS},
        "tokenizer": _tokenizer_hashes(tokenizer),
        "code": code_version("data/parts.py"),
    }
    return [
        Task(shard, subset, work / f"{stable_hash({**common, 'subset': subset, 'content': content})}.parquet")
        for shard, subset, content in source.shards
    ]


def _start(parent: int) -> None:
    """Let a worker end with its parent, however that ends, and leave interrupts to the parent."""
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _finished(pending: list[Task], data: Data, tokenizer: str, workers: int) -> Iterator[tuple[Task, int]]:
    if workers == 1 or len(pending) < 2:
        yield from ((task, _filter(task, data, tokenizer)) for task in pending)
        return
    # Forked, since a spawned process would run the script of the rule again.
    executor = ProcessPoolExecutor(min(workers, len(pending)), get_context("fork"), _start, (os.getpid(),))
    try:
        futures = {executor.submit(_filter, task, data, tokenizer): task for task in pending}
        for future in as_completed(futures):
            yield futures[future], future.result()
        executor.shutdown()
    except BaseException:  # otherwise the other workers would finish their shards first
        for child in psutil.Process().children():
            child.kill()
        executor.shutdown(wait=False, cancel_futures=True)
        raise


def filter_shards(
    source: Prepared, data: Data, tokenizer: Path | str, work: Path, workers: int, report: Report
) -> list[Path]:
    """The table of every shard, written into `work` by `workers` processes; tables of an earlier run are reused.

    Raises:
        UserError: for a broken shard or tokenizer.
    """
    every = tasks(source, data, tokenizer, work)
    for stale in set(work.glob("*.parquet")) - {task.out for task in every}:
        stale.unlink()
    pending = list({task.out: task for task in every if not task.out.exists()}.values())
    if len(pending) < len(every):
        report(f"filters: {len(every) - len(pending)} of {len(every)} shards are already filtered")
    for number, (task, rows) in enumerate(_finished(pending, data, str(tokenizer), workers), start=1):
        report(f"filters: {task.subset} {task.shard.name}, {rows} rows, {number} of {len(pending)} shards")
    return [task.out for task in every]
