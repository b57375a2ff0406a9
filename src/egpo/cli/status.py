"""How far an experiment is, read from its files: `snakemake status`.

Nothing is asked of a running job, and nothing is written. Counts are those of the files that lie there: work of other
settings, which a job would do anew, counts until the job starts.
"""

from __future__ import annotations

import re
import statistics
import textwrap
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyarrow.parquet import read_metadata
from tabulate import tabulate

from egpo.common.paths import Paths
from egpo.config.data import Data
from egpo.config.experiment import Catalogue
from egpo.config.training import Training
from egpo.runtime.job import duration
from egpo.runtime.lease import STALE_SECONDS, describe, holder
from egpo.runtime.root_cause import root_cause, slurm_line
from egpo.training.progress import REWARD, read_lines

Model = tuple[str, str, int]  # backbone, method, training seed
Rule = tuple[str, str, str]  # name, pattern of its log as a regular expression, its first output with {wildcards}
SLURM_LOGS = Path(".snakemake/slurm_logs")  # of Snakemake's plugin
SLURM_SLACK = 120  # seconds that a job may go on writing after Slurm's word
TAIL = 2**20  # bytes of a log that are read, from its end
PACE_STEPS = 10
WIDTH, NAME = 100, 38  # of the terminal and of a job's name, in characters


@dataclass(frozen=True)
class Ended:
    """A job that ended without its output, and the line that says why."""

    name: str
    log: Path
    output: Path
    line: str


def _tail(path: Path) -> str:
    """The end of a text file; empty without one."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return file.read().decode(errors="replace")
    return ""


def _time(path: Path) -> float:
    """When the file was last written, in seconds; 0 without one."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def _age(*files: Path) -> str:
    """How long ago the newest of the files was written; empty if there is none."""
    newest = max(map(_time, files))
    return duration(max(0.0, time.time() - newest)) if newest else ""


def _rows(file: Path, expected: int) -> int:
    """Rows of a parquet file that the data stage makes, or as many as it should make."""
    return read_metadata(file).num_rows if file.exists() else expected


# --- what ended ------------------------------------------------------------------------------------


def _by_slurm(rule: str, wildcards: Iterable[str], log: Path) -> str | None:
    """What Slurm said of the last attempt, if the log of the job is of this attempt and not of a later, local one."""
    logs = list((SLURM_LOGS / f"rule_{rule}" / "_".join(wildcards)).glob("*.log"))
    newest = max(logs, key=_time, default=None)
    if newest is None or _time(newest) < _time(log) - SLURM_SLACK:
        return None
    return slurm_line(_tail(newest))


def _who(work: Path) -> str | None:
    """Who is at work in a folder; None if nobody is, or nobody who shows life."""
    entry = holder(work)
    return describe(entry) if entry and entry["age_s"] < STALE_SECONDS else None


def ended_jobs(logs: Path, rules: list[Rule]) -> list[Ended]:
    """Every job with a log that tells of an error, without its output, and not at work again."""
    ended = []
    for log in sorted(logs.rglob("*.log")):
        for rule, pattern, output in rules:
            if not (match := re.fullmatch(pattern, str(log))):
                continue
            file = Path(output.format(**match.groupdict()))
            if file.exists() or _who(file.parent / "work"):
                continue
            wildcards = match.groupdict().values()
            line = _by_slurm(rule, wildcards, log) or root_cause(_tail(log))
            if line:
                ended.append(Ended(" ".join([rule, *wildcards]), log, file, line))
    return ended


def _state(output: Path, failed: set[Path]) -> str:
    if output.exists():
        return "done"
    if _who(output.parent / "work"):
        return "running"
    if output in failed:
        return "failed"
    return "stopped" if (output.parent / "work").exists() else "waiting"


# --- how far the others are ------------------------------------------------------------------------


def total_steps(training: Training, data: Data, train_file: Path) -> int:
    """Optimiser steps of a training, as verl counts them; by the quotas while there is no data yet."""
    if training.total_training_steps is not None:
        return training.total_training_steps
    return (
        _rows(train_file, data.quotas.total - data.validation_rows) // training.train_batch_size * training.total_epochs
    )


def _training(folder: Path, state: str, steps: int) -> list[str]:
    """Columns of a training: state, step, reward, seconds a step, time left, last sign of life."""
    work = folder / "work"
    metrics = folder / "metrics.jsonl" if state == "done" else work / "metrics.jsonl"
    lines = [line for line in read_lines(metrics) if REWARD in line]
    if not lines:
        return [state, f"0/{steps}", "", "", "", _age(metrics, work / "heartbeat.json")]
    step = lines[-1]["step"]
    pace = statistics.median(line["timing_s/step"] for line in lines[-PACE_STEPS:])
    left = duration(pace * (steps - step)) if state == "running" else ""
    age = "" if state == "done" else _age(metrics, work / "heartbeat.json")
    return [state, f"{step}/{steps}", f"{lines[-1][REWARD]:.2f}", f"{pace:.1f}", left, age]


def _said_left(log: Path, state: str) -> str:
    """The time left by the last progress line of an evaluation or of rollouts."""
    found = re.findall(r"answers, (.+) left", _tail(log)) if state == "running" else []
    return found[-1] if found else ""


def _answers(trial: Path, items: int) -> int:
    """Answers of a trial, whole or under way, in evalscope's files."""
    if (trial / "finished.json").exists():
        return items
    files = trial.glob("evalscope/predictions/*/*.jsonl")
    return min(items, sum(file.read_bytes().count(b"\n") for file in files))


def _evaluation(folder: Path, log: Path, state: str, items: dict[str, int], seeds: tuple[int, ...]) -> list[str]:
    """Columns of an evaluation: state, answers, trials, time left, last sign of life."""
    trials = {folder / "work" / name / f"seed-{seed}": count for name, count in items.items() for seed in seeds}
    asked, age = sum(trials.values()), "" if state == "done" else _age(log)
    if state == "done":
        answered, whole = asked, len(trials)
    else:
        answered = sum(_answers(trial, count) for trial, count in trials.items())
        whole = sum((trial / "finished.json").exists() for trial in trials)
    return [state, f"{answered}/{asked}", f"{whole}/{len(trials)}", _said_left(log, state), age]


def _rollouts(folder: Path, log: Path, state: str, shards: int) -> list[str]:
    """Columns of the rollouts of a model: state, shards, time left, last sign of life."""
    made = shards if state == "done" else len(list(folder.glob("work/shard-*.parquet")))
    return [state, f"{made}/{shards}", _said_left(log, state), "" if state == "done" else _age(log)]


# --- the page --------------------------------------------------------------------------------------


def _name(model: Model) -> str:
    """The end of a long name is what tells it from others."""
    name = " ".join(map(str, model))
    return name if len(name) <= NAME else f"…{name[1 - NAME :]}"


def _table(headers: list[str], rows: dict[Model, list[str]]) -> str:
    body = [[_name(model), *columns] for model, columns in rows.items()]
    align = ["left", "left", *["right"] * (len(headers) - 2)]
    return tabulate(body, headers, tablefmt="plain", colalign=align, disable_numparse=True)


def _causes(ended: list[Ended]) -> str:
    lines = ["Ended without a result:"]
    for one in ended:
        said = textwrap.wrap(one.line, WIDTH - 4, max_lines=3, placeholder=" …")
        lines += [f"  {one.name}", *(f"    {part}" for part in [*said, str(one.log)])]
    return "\n".join(lines)


def _totals(states: Counter[str], paths: Paths) -> str:
    counted = [f"{states[state]} {state}" for state in ("done", "running", "waiting", "stopped", "failed")]
    return f"Trainings: {', '.join(counted)}. Logs: {paths.root / 'logs'}/"


def status(
    catalogue: Catalogue,
    evaluated: dict[Model, list[str]],
    trained: list[Model],
    diagnosed: list[Model],
    rules: list[Rule],
) -> str:
    """Trainings, evaluations, rollouts, and what ended without a result, as text for a terminal.

    evaluated: each model's benchmarks; trained, diagnosed: the models that are trained, and that roll out. Paths are
    those of egpo.common.paths, from the working directory.
    """
    experiment = catalogue.experiment
    paths = Paths(experiment.experiment)
    ended = ended_jobs(paths.root / "logs", rules)
    failed = {one.output for one in ended}

    def state(folder: Path) -> str:
        return _state(folder / "manifest.json", failed)

    trainings, evaluations, rollouts = {}, {}, {}
    for model in trained:
        folder = paths.training(*model)
        steps = total_steps(experiment.of(model[0]).training, experiment.data, paths.data / "train.parquet")
        trainings[model] = _training(folder, state(folder), steps)
    for model, names in evaluated.items():
        folder, log = paths.evaluation(*model), paths.log("evaluate", *model[:2], f"seed-{model[2]}")
        items = {name: catalogue.benchmarks[name].num_questions for name in names}
        seeds = experiment.of(model[0]).evaluation.seeds
        evaluations[model] = _evaluation(folder, log, state(folder), items, seeds)
    if experiment.uncertainty is not None:
        shards = -(-_rows(paths.heldout, experiment.data.heldout_rows) // experiment.uncertainty.problems_per_shard)
        for model in diagnosed:
            folder, log = paths.rollouts(*model), paths.log("uncertainty", *model[:2], f"seed-{model[2]}")
            rollouts[model] = _rollouts(folder, log, state(folder), shards)
    parts = [
        f"{paths.root}: " + (f"run by {who}" if (who := _who(paths.root / "driver")) else "no Snakemake is running it"),
        _table(["Training", "State", "Step", "Reward", "s/step", "Left", "Last sign"], trainings),
        _table(["Evaluation", "State", "Answers", "Trials", "Left", "Last sign"], evaluations),
        _table(["Rollouts", "State", "Shards", "Left", "Last sign"], rollouts) if rollouts else "",
        _causes(ended) if ended else "",
        _totals(Counter(columns[0] for columns in trainings.values()), paths),
    ]
    return "\n\n".join(filter(None, parts))
