"""How far a training, an evaluation or rollouts are, from their files: the columns of `egpo status`."""

from __future__ import annotations

import math
import re
import statistics
import time
from pathlib import Path
from typing import Any

from pyarrow.parquet import read_metadata

from egpo.cli.status.ended import tail, written
from egpo.common.errors import UserError
from egpo.config.data import Data
from egpo.config.training import Training
from egpo.runtime.job import duration
from egpo.training.measured import DIFFERENCE, measured
from egpo.training.progress import REWARD, read_lines

PACE_STEPS = 10  # the last steps, whose median is the pace
# What verl measured, by header; values under one header are divided by "/".
MEASURED = {
    "Tokens/s": ("perf/throughput",),
    "GB": ("actor/perf/max_memory_allocated_gb", "actor/perf/cpu_memory_used_gb"),
    "Seconds": tuple(
        f"timing_s/{phase}"
        for phase in ("gen", "old_log_prob", "adv", "update_actor", "update_weights", "save_checkpoint", "testing")
    ),
    "Apart": (DIFFERENCE,),
    "%": ("actor/pg_clipfrac", "actor/pg_clipfrac_lower", "response_length/clip_ratio"),
}
MEASURED_MEANS = (
    "Seconds: rollouts/log-probabilities/advantages/update/weights to vLLM/checkpoint/validation.\n"
    "GB: GPU/machine. Apart: actor - vLLM, nats per token. %: clipped/by clip_ratio_c/truncated.\n"
    "Medians over the steps; of GB and Apart the largest."
)


def _age(*files: Path) -> str:
    """How long ago the newest of the files was written; empty if there is none."""
    newest = max(map(written, files))
    return duration(max(0.0, time.time() - newest)) if newest else ""


def rows(file: Path, expected: int) -> int:
    """Rows of a parquet file; without it, as many as it should have."""
    if not file.exists():
        return expected
    try:
        return read_metadata(file).num_rows
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: is damaged ({error}). Delete it and run again.") from None


def steps_of(metrics: Path) -> list[dict[str, Any]]:
    """The lines of a training's metrics that have a step; of each what is a number, as the file may be damaged."""
    lines = read_lines(metrics)
    numbers = [{name: value for name, value in line.items() if isinstance(value, int | float)} for line in lines]
    return [line for line in numbers if "step" in line]


def total_steps(training: Training, data: Data, train_file: Path) -> int:
    """Optimiser steps of a training, as verl counts them; by the quotas while there is no data yet."""
    if training.total_training_steps is not None:
        return training.total_training_steps
    if training.total_epochs is None:  # the configuration has one of the two
        return 0
    examples = rows(train_file, data.quotas.total - data.validation_rows)
    return examples // training.train_batch_size * training.total_epochs


def training_columns(folder: Path, state: str, steps: int) -> list[str]:
    """State, step, reward, seconds per step, time left, last sign of life."""
    work = folder / "work"
    metrics = folder / "metrics.jsonl" if state == "done" else work / "metrics.jsonl"
    lines = [line for line in steps_of(metrics) if REWARD in line]
    if not lines:
        return [state, f"0/{steps}", "", "", "", _age(metrics, work / "heartbeat.json")]
    step, timed = lines[-1]["step"], [line["timing_s/step"] for line in lines if "timing_s/step" in line]
    pace = statistics.median(timed[-PACE_STEPS:]) if timed else None
    left = duration(pace * (steps - step)) if state == "running" and pace is not None else ""
    age = "" if state == "done" else _age(metrics, work / "heartbeat.json")
    shown = "" if pace is None else f"{pace:.1f}"
    return [state, f"{step}/{steps}", f"{lines[-1][REWARD]:.2f}", shown, left, age]


def measured_columns(lines: list[dict[str, Any]]) -> list[str]:
    """The columns MEASURED of a training, from its metrics."""
    found = measured(lines)

    def text(header: str, value: float) -> str:
        if math.isnan(value):
            return "-"
        if header == "Apart":
            return f"{value:.0e}"
        value *= 100 if header == "%" else 1
        return f"{value:.0f}" if value >= 10 else f"{value:.1f}"

    return ["/".join(text(header, found[name]) for name in names) for header, names in MEASURED.items()]


def _left(log: Path, state: str) -> str:
    """The time left by the last progress line of an evaluation or of rollouts."""
    found = re.findall(r"answers, (.+) left", tail(log)) if state == "running" else []
    return found[-1] if found else ""


def _answers(trial: Path, questions: int) -> int:
    """Answers of a trial, finished or running, in evalscope's files."""
    if (trial / "finished.json").exists():
        return questions
    files = trial.glob("evalscope/predictions/*/*.jsonl")
    return min(questions, sum(file.read_bytes().count(b"\n") for file in files))


def evaluation_columns(
    folder: Path, log: Path, state: str, questions: dict[str, int], seeds: tuple[int, ...]
) -> list[str]:
    """State, answers, trials, time left, last sign of life. questions: their number by benchmark."""
    trials = {folder / "work" / name / f"seed-{seed}": count for name, count in questions.items() for seed in seeds}
    total, age = sum(trials.values()), "" if state == "done" else _age(log)
    if state == "done":
        answered, finished = total, len(trials)
    else:
        answered = sum(_answers(trial, count) for trial, count in trials.items())
        finished = sum((trial / "finished.json").exists() for trial in trials)
    return [state, f"{answered}/{total}", f"{finished}/{len(trials)}", _left(log, state), age]


def rollouts_columns(folder: Path, log: Path, state: str, shards: int) -> list[str]:
    """State, shards, time left, last sign of life."""
    finished = shards if state == "done" else len(list(folder.glob("work/shard-*.parquet")))
    return [state, f"{finished}/{shards}", _left(log, state), "" if state == "done" else _age(log)]
