"""Every benchmark and seed of one model: evalscope's prompts and scores, with vLLM behind it.

A trial is one benchmark with one seed, in a folder of its own. A trial that was finished with the same
model, data, settings and code is not run again; one that was cut off starts over.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from egpo.common.errors import UserError
from egpo.common.files import atomic_path, read_json, write_json
from egpo.common.hashing import stable_hash
from egpo.common.provenance import origin
from egpo.config.backbones import Backbone
from egpo.config.benchmarks import Benchmark
from egpo.config.evaluation import Evaluation
from egpo.evaluation.records import SCHEMA, trial_rows
from egpo.inference.decoding import METADATA, decoding, hashes, model_files
from egpo.inference.engine import Engine, EngineError
from egpo.inference.progress import Progress, Report
from egpo.runtime.job import duration

LEAST_SPACE = 2**20  # bytes of disk below which evalscope may have written half of what it should


@dataclass(frozen=True)
class Trial:
    """One benchmark with one seed. `number` counts from 1 to `of`; `key` hashes all that its result depends on."""

    name: str
    benchmark: Benchmark
    folder: Path | None
    seed: int
    number: int
    of: int
    key: str
    work: Path

    @property
    def label(self) -> str:
        return f"{self.name} trial {self.number}/{self.of}"

    @property
    def records(self) -> Path:
        return self.work / "records.parquet"

    @property
    def finished(self) -> bool:
        """Whether this very trial was finished, and not one of other settings."""
        path = self.work / "finished.json"
        return path.exists() and read_json(path).get("key") == self.key


def plan(
    model: dict[str, str],
    backbone: Backbone,
    benchmarks: dict[str, Benchmark],
    folders: dict[str, Path | None],
    settings: Evaluation,
    work: Path,
    code: str,
) -> list[Trial]:
    """Every trial to run, benchmark by benchmark.

    model: hashes of its files, or its name on the Hub as a key; code: version of the code that records depend on.
    """
    common = {
        "model": model,
        "decoding": decoding(backbone, settings),
        "code": code,
    }
    trials = []
    for name, benchmark in benchmarks.items():
        folder = folders.get(name)
        files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder else []
        data = {"benchmark": benchmark.model_dump(mode="json", exclude={"label"}), "files": hashes(files)}
        for number, seed in enumerate(settings.seeds, start=1):
            key = stable_hash({**common, **data, "seed": seed})
            place = work / name / f"seed-{seed}"
            trials.append(Trial(name, benchmark, folder, seed, number, len(settings.seeds), key, place))
    return trials


class _NoTorch(MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "torch":
            raise ModuleNotFoundError("torch is left out of this process", name=name)


@contextlib.contextmanager
def without_torch() -> Iterator[None]:
    """Let evalscope find no torch, in a process that has not loaded it.

    It would import torch only to empty the cache of a GPU that this process does not use. As it scores
    every answer in a fork of this process, the smaller process saves a quarter of the scoring time.
    """
    if "torch" in sys.modules or "datasets" in sys.modules:
        yield
        return
    finder, before = _NoTorch(), os.environ.get("USE_TORCH")
    os.environ["USE_TORCH"] = "0"  # datasets looks at it before it looks for torch
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        if before is None:
            del os.environ["USE_TORCH"]
        else:
            os.environ["USE_TORCH"] = before


def run_trials(
    trials: list[Trial], model: Path | str, backbone: Backbone, settings: Evaluation, report: Report
) -> None:
    """Load the model once and run the trials, one after the other."""
    report(f"loading {model} into vLLM")
    start = time.monotonic()
    with Engine(model, backbone, settings) as engine, without_torch():
        # Imports evalscope, while vLLM loads in its own process.
        from egpo.evaluation.trial import count_questions

        counts = {
            trial.name: count_questions(trial.name, trial.benchmark, trial.folder)
            for trial in {trial.name: trial for trial in trials}.values()
        }
        engine.wait()
        report(f"loaded in {duration(time.monotonic() - start)}")
        progress = Progress(sum(trial.benchmark.num_questions for trial in trials), report)
        for trial in trials:
            start = time.monotonic()
            rows = _run_whole(trial, counts[trial.name], settings, engine, progress.tick, report)
            right = sum(row["correct"] for row in rows)
            spent = duration(time.monotonic() - start)
            report(f"{trial.label}: {right} of {len(rows)} right{oddities(rows)}, in {spent}")


def _run_whole(
    trial: Trial,
    subsets: dict[str, int],
    settings: Evaluation,
    engine: Engine,
    tick: Callable[[], None],
    report: Report,
) -> list[dict[str, Any]]:
    """Run a trial and keep its records. Where evalscope lost samples, it runs once more; then what is lost is wrong."""
    start = time.monotonic()
    rows = _run_once(trial, subsets, settings, engine, tick)
    lost = sum(row["status"] == "missing" for row in rows)
    if lost:
        report(f"{trial.label}: evalscope lost {lost} of {len(rows)} answers; running it again")
        rows = _run_once(trial, subsets, settings, engine, lambda: None)
    with atomic_path(trial.records) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
    write_json(trial.work / "finished.json", {"key": trial.key, "seconds": round(time.monotonic() - start, 3)})
    return rows


def _run_once(
    trial: Trial, subsets: dict[str, int], settings: Evaluation, engine: Engine, tick: Callable[[], None]
) -> list[dict[str, Any]]:
    from egpo.evaluation.trial import run_trial

    shutil.rmtree(trial.work, ignore_errors=True)
    place = trial.work / "evalscope"
    run_trial(trial.name, trial.benchmark, trial.folder, settings, engine, trial.seed, place, tick)
    if not engine.alive:
        raise EngineError(
            f"{trial.label}: the vLLM process ended before its time; its output is in the log. Run the same command "
            "again: finished trials stay."
        )
    _check_space(trial.work)
    return list(trial_rows(trial.name, trial.benchmark.adapter, subsets, place, trial.number, trial.seed))


def _check_space(folder: Path) -> None:
    """evalscope goes on when it cannot write; a full disk must not make answers wrong."""
    if shutil.disk_usage(folder).free < LEAST_SPACE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


@contextlib.contextmanager
def _space_for(folder: Path) -> Iterator[None]:
    """A full disk as a message for the user."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"{error.filename or folder}: no space left. Make some and run the same command again: finished trials "
            "stay."
        ) from error


def oddities(rows: list[dict[str, Any]]) -> str:
    """', 3 overflow, 1 missing' for what was not scored, and the truncated; empty when there is none."""
    counts = Counter(row["status"] for row in rows if row["status"] != "scored")
    counts["truncated"] = sum(row["truncated"] for row in rows)
    return "".join(f", {count} {status}" for status, count in counts.items() if count)


def write_records(trials: list[Trial], made: dict[str, Any], path: Path) -> pa.Table:
    """All records as one parquet file, `items` x seeds per benchmark; `made` goes into its metadata."""
    table = pa.concat_tables(pq.read_table(trial.records) for trial in trials)
    expected = sum(trial.benchmark.num_questions for trial in trials)
    assert table.num_rows == expected, f"{table.num_rows} records for {expected} questions"
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(made).encode()}), temporary)
    return table


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Per benchmark: number of records, share of right ones, and how many have each status or were truncated."""
    result = {}
    for name in dict.fromkeys(row["benchmark"] for row in rows):
        mine = [row for row in rows if row["benchmark"] == name]
        result[name] = {
            "records": len(mine),
            "accuracy": sum(row["correct"] for row in mine) / len(mine),
            "truncated": sum(row["truncated"] for row in mine),
            "status": dict(Counter(row["status"] for row in mine)),
        }
    return result


def evaluate(
    model: Path | str,
    backbone: Backbone,
    benchmarks: dict[str, Benchmark],
    folders: dict[str, Path | None],
    settings: Evaluation,
    work: Path,
    out: Path,
    code: str,
    report: Report,
) -> None:
    """Ask a model every question of every benchmark, once per seed.

    model: a folder in Hugging Face format or a name on the Hub; folders: local data of the benchmarks
    that have some; work: keeps finished trials from one call to the next; code: see `plan`. Writes out/records.parquet
    (egpo.evaluation.records.SCHEMA: one row per question and trial) and, last, out/manifest.json.
    Call it in a process that has not imported torch. Raises UserError for a model or a benchmark that
    cannot be used, EngineError when vLLM fails; finished trials stay finished.
    """
    inputs = hashes(model_files(model))
    trials = plan(inputs or {str(model): ""}, backbone, benchmarks, folders, settings, work, code)
    pending = [trial for trial in trials if not trial.finished]
    if len(pending) < len(trials):
        report(f"{len(trials) - len(pending)} of {len(trials)} trials are finished already")
    made = decoding(backbone, settings)
    work.mkdir(parents=True, exist_ok=True)
    with _space_for(work):
        if pending:
            run_trials(pending, model, backbone, settings, report)
        table = write_records(trials, made, out / "records.parquet")
    asked = {
        "decoding": made,
        "seeds": settings.seeds,
        "benchmarks": {name: benchmark.model_dump(mode="json") for name, benchmark in benchmarks.items()},
    }
    rows = table.select(["benchmark", "correct", "status", "truncated"]).to_pylist()
    manifest = origin(asked, code, [])
    manifest |= {"inputs": inputs, "model": str(model), "results": summary(rows)}
    # Of all trials together, whenever they were run: `egpo plan` reckons with it.
    seconds = sum(read_json(trial.work / "finished.json")["seconds"] for trial in trials)
    write_json(out / "manifest.json", {**manifest, "seconds": seconds, "max_num_seqs": settings.max_num_seqs})
