"""Evaluates one model: vLLM loads once and answers every trial, evalscope scores, and the records become one file."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from egpo.common.errors import UserError
from egpo.common.files import atomic_path, read_json, write_json
from egpo.common.provenance import origin
from egpo.config.backbones import Backbone
from egpo.config.benchmarks import Benchmark
from egpo.config.evaluation import Evaluation
from egpo.evaluation.records import SCHEMA, trial_rows
from egpo.evaluation.trials import Trial, list_trials
from egpo.inference.decoding import METADATA, decoding, hashes, model_files
from egpo.inference.engine import EngineError
from egpo.inference.engines import Engines
from egpo.inference.progress import Progress, Report
from egpo.runtime.job import duration
from egpo.runtime.without_torch import without_torch

if TYPE_CHECKING:
    from egpo.evaluation.harness import AskedAhead

MIN_FREE_BYTES = 2**20  # with less free space, evalscope may have written only a part of its files


def run_trials(
    trials: list[Trial],
    model: Path | str,
    backbone: Backbone,
    settings: Evaluation,
    report: Report,
    then: Callable[[Engines], object] | None = None,
) -> None:
    """Load the model once and run the trials one after the other; arguments as of `evaluate`.

    Raises:
        UserError: for a model or a benchmark that cannot be used.
        EngineError: when vLLM fails; finished trials are kept.
    """
    report(f"loading {model} into vLLM")
    with Engines(model, backbone, settings) as engines:
        with without_torch():
            _run_all(trials, engines, settings, report)
        if then is not None:
            _try(then, engines, report)


def _run_all(trials: list[Trial], engines: Engines, settings: Evaluation, report: Report) -> None:
    start = time.monotonic()
    # These import evalscope, while vLLM loads in its own process.
    from egpo.evaluation.harness import AskedAhead, as_messages, read_samples
    from egpo.evaluation.scoring import lasting_scorers

    distinct = {trial.name: trial for trial in trials}.values()
    samples = {trial.name: read_samples(trial.name, trial.benchmark, trial.folder) for trial in distinct}
    prompts = {
        name: [as_messages(sample.input) for part in parts.values() for sample in part]
        for name, parts in samples.items()
    }
    engines.wait()
    report(f"loaded in {duration(time.monotonic() - start)}")
    progress = Progress(sum(trial.benchmark.num_questions for trial in trials), report)
    ahead = AskedAhead(engines)
    for trial in trials:
        ahead.ask_ahead(prompts[trial.name], trial.seed)
    with lasting_scorers():
        for trial in trials:
            start = time.monotonic()
            rows = _run_whole(trial, samples[trial.name], settings, ahead, progress.tick, report)
            right = sum(row["correct"] for row in rows)
            spent = duration(time.monotonic() - start)
            report(f"{trial.label}: {right} of {len(rows)} right{_not_scored(rows)}, in {spent}")


def _try(then: Callable[[Engines], object], engines: Engines, report: Report) -> None:
    try:
        then(engines)
    except Exception as error:
        traceback.print_exc()
        report(f"left to the job that needs it: {type(error).__name__}: {error}")


def _run_whole(
    trial: Trial,
    samples: dict[str, Any],
    settings: Evaluation,
    engine: AskedAhead,
    tick: Callable[[], None],
    report: Report,
) -> list[dict[str, Any]]:
    """Run a trial and write its records. If evalscope loses samples, run it once more; then lost samples are wrong."""
    start = time.monotonic()
    rows = _run_once(trial, samples, settings, engine, tick)
    lost = sum(row["status"] == "missing" for row in rows)
    if lost:
        report(f"{trial.label}: evalscope lost {lost} of {len(rows)} answers; running it again")
        rows = _run_once(trial, samples, settings, engine, lambda: None)
    with atomic_path(trial.records) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
    write_json(trial.mark, {"key": trial.key, "seconds": round(time.monotonic() - start, 3)})
    return rows


def _run_once(
    trial: Trial, samples: dict[str, Any], settings: Evaluation, engine: AskedAhead, tick: Callable[[], None]
) -> list[dict[str, Any]]:
    from egpo.evaluation.harness import run_trial

    shutil.rmtree(trial.work, ignore_errors=True)
    place = trial.work / "evalscope"
    asked = trial.name, trial.benchmark, trial.folder, samples
    run_trial(engine, trial.seed, *asked, settings.requests, place, tick)
    if not engine.engines.alive:
        raise EngineError(
            f"{trial.label}: the vLLM process ended unexpectedly; its output is in the log. Run the same command "
            "again: finished trials are kept."
        )
    # evalscope goes on when it cannot write; a full disk must not make answers wrong.
    if shutil.disk_usage(trial.work).free < MIN_FREE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(trial.work))
    subsets = {subset: len(part) for subset, part in samples.items()}
    return list(trial_rows(trial.name, trial.benchmark.adapter, subsets, place, trial.number, trial.seed))


@contextlib.contextmanager
def _full_disk_as_user_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"{error.filename or folder}: no space left. Free some and run the same command again: finished trials "
            "are kept."
        ) from error


def _not_scored(rows: list[dict[str, Any]]) -> str:
    """', 3 overflow, 1 truncated': counts of answers that were not scored, and of truncated ones; '' without any."""
    counts = Counter(row["status"] for row in rows if row["status"] != "scored")
    counts["truncated"] = sum(row["truncated"] for row in rows)
    return "".join(f", {count} {status}" for status, count in counts.items() if count)


def _write_records(trials: list[Trial], made: dict[str, Any], path: Path) -> pa.Table:
    """All records as one parquet file, with `made` in its metadata."""
    table = pa.concat_tables(pq.read_table(trial.records) for trial in trials)
    expected = sum(trial.benchmark.num_questions for trial in trials)
    assert table.num_rows == expected, f"{table.num_rows} records for {expected} questions"
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(made).encode()}), temporary)
    return table


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each benchmark: number of records, accuracy, and how many have each status or were truncated."""
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
    folders: dict[str, Path],
    settings: Evaluation,
    work: Path,
    out: Path,
    code: str,
    report: Report,
    then: Callable[[Engines], object] | None = None,
) -> None:
    """Ask a model every question of every benchmark, once per seed.

    Writes out/records.parquet (egpo.evaluation.records.SCHEMA: one row per question and trial) and, last,
    out/manifest.json. Call it in a process that has not imported torch.

    Args:
        model: a folder in Hugging Face format, or a name on the Hub.
        folders: the data of each benchmark.
        work: keeps finished trials from one call to the next.
        code: version of the code that records depend on.
        then: what else this model is to answer, called while vLLM has it loaded; not called where no trial is to be
            run. Its failure is reported, and costs the evaluation nothing.

    Raises:
        UserError: for a model or a benchmark that cannot be used, and for a full disk.
        EngineError: when vLLM fails. Finished trials are kept in all these cases.
    """
    inputs = hashes(model_files(model))
    trials = list_trials(inputs or {str(model): ""}, backbone, benchmarks, folders, settings, work, code)
    pending = [trial for trial in trials if not trial.finished]
    if len(pending) < len(trials):
        report(f"{len(trials) - len(pending)} of {len(trials)} trials are finished already")
    made = decoding(backbone, settings)
    work.mkdir(parents=True, exist_ok=True)
    with _full_disk_as_user_error(work):
        if pending:
            run_trials(pending, model, backbone, settings, report, then)
        table = _write_records(trials, made, out / "records.parquet")
    asked = {
        "decoding": made,
        "seeds": settings.seeds,
        "benchmarks": {name: benchmark.model_dump(mode="json") for name, benchmark in benchmarks.items()},
    }
    rows = table.select(["benchmark", "correct", "status", "truncated"]).to_pylist()
    manifest = origin(asked, code, [])
    manifest |= {"inputs": inputs, "model": str(model), "results": _summary(rows)}
    # Of all trials together, whenever they were run: `egpo plan` estimates from it.
    seconds = sum(read_json(trial.mark)["seconds"] for trial in trials)
    write_json(
        out / "manifest.json",
        {**manifest, "seconds": seconds, "max_num_seqs": settings.max_num_seqs, "gpus": settings.gpus},
    )
