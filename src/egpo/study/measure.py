"""One training of a study, and the row of what is measured on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from egpo.analysis.learning import VALIDATION, quarter, read_metric
from egpo.common.files import read_json
from egpo.common.paths import BASE, Paths
from egpo.common.provenance import stage_code
from egpo.config.backbones import Backbone
from egpo.config.evaluation import Evaluation
from egpo.config.experiment import Catalogue
from egpo.evaluation.records import verified
from egpo.inference.engine import request_seed
from egpo.inference.engines import Engines
from egpo.study.rows import CURVE, POINTS, Row
from egpo.training.limits import Limits
from egpo.training.run import run
from egpo.training.trackers import Tracked
from egpo.uncertainty.measures import auc, entropy, gap

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


def measure(
    catalogue: Catalogue, backbone: str, method: str, seed: int, questions: Questions, report: Report
) -> tuple[Row, Path | None]:
    """Train, and answer the questions with the trained model; only the latter for the untrained one.

    Returns:
        What is measured, and the training's work folder, which is no longer needed.
    """
    experiment = catalogue.experiment
    if method == BASE:
        folder, row = Paths(experiment.experiment).backbone(backbone), {}
    else:
        folder = train(catalogue, backbone, method, seed, report)
        row = of_training(folder)
    settings = experiment.of(backbone).evaluation
    greedy = settings.model_copy(update={"temperature": 0.0, "seeds": settings.seeds[:1]})
    given = catalogue.backbones[backbone]
    found = [answers(folder / "model", given, chosen, questions) for chosen in (greedy, settings)]
    return row | of_answers(*found), None if method == BASE else folder / "work"


def of_answers(greedy: pd.DataFrame, sampled: pd.DataFrame) -> Row:
    """The columns that come from `answers`."""
    known = sampled[~sampled["failed"]]
    entropies, wrong = known["entropy"].to_numpy(float), ~known["right"].to_numpy(bool)
    return {
        "greedy": float(greedy["right"].mean()),
        "sampled": float(sampled["right"].mean()),
        "greedy_right": right_text(greedy),
        "sampled_right": right_text(sampled),
        "unanswered": int(greedy["failed"].sum() + sampled["failed"].sum()),
        "truncated": float(known["truncated"].mean()),
        "length": float(known["tokens"].mean()),
        "entropy_correct": float(entropies[~wrong].mean()) if (~wrong).any() else np.nan,
        "entropy_incorrect": float(entropies[wrong].mean()) if wrong.any() else np.nan,
        "gap": float(gap(entropies, wrong)),
        "auc": float(auc(entropies, wrong)),
    }


def right_text(found: pd.DataFrame) -> str:
    """Right answers to each question as a digit, with | between benchmarks."""
    counts = found.groupby(["benchmark", "question"], sort=False)["right"].sum()
    parts = counts.groupby("benchmark", sort=False).apply(lambda part: "".join(map(str, part)))
    return "|".join(parts)


def of_training(folder: Path) -> Row:
    """The columns that come from a training's metrics and responses."""
    metrics = folder / "metrics.jsonl"
    validation = read_metric(metrics, VALIDATION)
    steps = [line for line in map(json.loads, metrics.read_text().splitlines()) if "egpo/nsr_share" in line]
    table = pd.DataFrame(steps)
    first = pd.read_parquet(folder / "responses.parquet", filters=[("step", "==", 1)])
    kinds = first.drop_duplicates("group")["kind"].astype(str)
    last = table.tail(quarter(table["step"]))

    def mean(name: str, rows: pd.DataFrame = table) -> float:
        return float(rows[name].mean()) if name in rows else np.nan

    return {
        **dict(zip(CURVE, curve(validation), strict=True)),
        "first_pass_rate": float(first["correct"].mean()),
        "first_correct": float((kinds == "entirely_correct").mean()),
        "first_incorrect": float((kinds == "entirely_incorrect").mean()),
        **{kind: mean(f"egpo/groups/{kind}") for kind in ("mixed", "entirely_correct", "entirely_incorrect")},
        "generated": mean("egpo/groups/generated"),
        "nsr_share": mean("egpo/nsr_share"),
        "weight_correct": mean("egpo/weight/correct/mean"),
        "weight_incorrect": mean("egpo/weight/incorrect/mean"),
        "training_gap": mean("egpo/entropy/gap", last),
        "steps": len(table),
    }


def curve(validation: pd.Series) -> list[float]:
    """The accuracy at the start and after each tenth of the steps; nan where there was no validation.

    Args:
        validation: accuracies by step; the last step has one.
    """
    last = validation.index.max()
    return [float(validation.get(round(point * last / POINTS), np.nan)) for point in range(POINTS + 1)]


def read_questions(file: Path) -> Questions:
    return read_json(file)
