"""One training of a study, and the row of what is measured on it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from egpo.common.files import read_json
from egpo.common.paths import BASE, Paths
from egpo.common.provenance import stage_code
from egpo.config.backbones import Backbone
from egpo.config.evaluation import Evaluation
from egpo.config.experiment import Catalogue
from egpo.evaluation.records import verified
from egpo.inference.engine import request_seed
from egpo.inference.engines import Engines
from egpo.runtime.job import duration
from egpo.study.csv_file import Row
from egpo.study.summary import of_answers, of_training
from egpo.training.limits import Limits
from egpo.training.run import run
from egpo.training.trackers import Tracked
from egpo.uncertainty.measures import entropy

Report = Callable[[str], None]
Questions = dict[str, list[dict[str, Any]]]  # by benchmark: `messages` and `target` of each


def train(catalogue: Catalogue, backbone: str, method: str, seed: int, report: Report) -> Path:
    """Train as the rule `train_model` does, in the same folder, which is returned."""
    own, paths = catalogue.experiment.of(backbone), Paths(catalogue.experiment.experiment)
    needs, out = own.jobs.train, paths.training(backbone, method, seed)
    run(
        training=own.training,
        method=catalogue.methods[method],
        backbone=catalogue.backbones[backbone],
        model=paths.backbone(backbone) / "model",
        train_file=paths.output("data_pool", "train"),
        validation_file=paths.output("data_pool", "validation"),
        seed=seed,
        out=out,
        code=stage_code("train_model", platform=own.training.platform),
        limits=Limits(needs.minutes * 60, needs.grace_minutes * 60, needs.stall_minutes * 60),
        memory_gib=needs.memory_gib,
        tracked=Tracked.of((), catalogue.experiment.experiment, backbone, method, seed),
        report=report,
    )
    return out


def answers(model: Path, backbone: Backbone, settings: Evaluation, questions: Questions) -> pd.DataFrame:
    """A model's answers to every question in every trial, with the seeds of the rule `evaluate_model`.

    Returns:
        A row for each: benchmark, question, trial, right (by the verifier of the training), entropy (Eq. 5, nan for an
        answer that failed), tokens, truncated, failed, response.
    """
    asked = []
    with Engines(model, backbone, settings) as engines:
        engines.wait()
        for name, problems in questions.items():
            for trial in settings.seeds:
                for number, problem in enumerate(problems):
                    seed = request_seed(trial, problem["messages"])
                    future = engines.ask(problem["messages"], seed, logprobs=True)
                    asked.append((name, number, trial, problem["target"], future))
        rows = []
        for name, number, trial, target, future in asked:
            answer = future.result()
            failed = answer.error is not None
            rows.append(
                {
                    "benchmark": name,
                    "question": number,
                    "trial": trial,
                    "right": not failed and bool(verified(answer.text, target)),
                    "entropy": entropy(answer.logprobs, slice(None)),
                    "tokens": answer.tokens,
                    "truncated": answer.truncated,
                    "failed": failed,
                    "response": answer.text,
                }
            )
    return pd.DataFrame(rows)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End the block with a TimeoutError after so many seconds, whatever it waits for. In the main thread alone."""

    def late(*_: object) -> None:
        raise TimeoutError(f"the evaluation took longer than {duration(seconds)} (jobs.evaluate.minutes)")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def measure(
    catalogue: Catalogue, backbone: str, method: str, seed: int, questions: Questions, report: Report
) -> tuple[Row, list[Row], Path | None]:
    """Train, and answer the questions with the trained model; only the latter for the untrained one.

    Returns:
        What is measured, the same of each step, and the training's work folder, which is no longer needed.
    """
    own, since = catalogue.experiment.of(backbone), time.time()
    row: Row = {}
    steps: list[Row] = []
    if method == BASE:
        folder = Paths(catalogue.experiment.experiment).backbone(backbone)
    else:
        folder = train(catalogue, backbone, method, seed, report)
        row, steps = of_training(folder, since)
    settings = own.evaluation
    greedy = settings.model_copy(update={"temperature": 0.0, "seeds": settings.seeds[:1]})
    given = catalogue.backbones[backbone]
    with time_limit(own.jobs.evaluate.minutes * 60):
        found = [answers(folder / "model", given, chosen, questions) for chosen in (greedy, settings)]
    return row | of_answers(*found), steps, None if method == BASE else folder / "work"


def read_questions(file: Path) -> Questions:
    return read_json(file)
