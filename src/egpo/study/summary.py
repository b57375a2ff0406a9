"""What the columns of a study say of a training, and of a model's answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from egpo.analysis.learning import VALIDATION, quarter, read_metric
from egpo.study import steps
from egpo.study.csv_file import Row
from egpo.study.rows import CURVE, POINTS
from egpo.uncertainty.measures import auc, estimate, gap, resampled

QUESTION = ["benchmark", "question"]


def of_answers(greedy: pd.DataFrame, sampled: pd.DataFrame) -> Row:
    """The columns that come from `answers`."""
    known = sampled[~sampled["failed"]]
    entropies, wrong = known["entropy"].to_numpy(float), ~known["right"].to_numpy(bool)
    return {
        "greedy": float(greedy["right"].mean()),
        "sampled": float(sampled["right"].mean()),
        "greedy_right": digits(greedy, "right"),
        "sampled_right": digits(sampled, "right"),
        "sampled_truncated": digits(sampled, "truncated"),
        "unanswered": int(greedy["failed"].sum() + sampled["failed"].sum()),
        "truncated": float(known["truncated"].mean()),
        "length": float(known["tokens"].mean()),
        "entropy_correct": float(entropies[~wrong].mean()) if (~wrong).any() else np.nan,
        "entropy_incorrect": float(entropies[wrong].mean()) if wrong.any() else np.nan,
        **gaps(known, entropies, wrong),
        "auc": float(auc(entropies, wrong)),
    }


def gaps(known: pd.DataFrame, entropies: np.ndarray, wrong: np.ndarray) -> Row:
    """The entropy gap with its interval over the questions, and two that leave out what it may come from."""
    questions = known.groupby(QUESTION, sort=False).ngroup().to_numpy()
    whole = estimate(gap, entropies, wrong, resampled(questions))
    ended = ~known["truncated"].to_numpy(bool)
    means = pd.DataFrame({"question": questions, "wrong": wrong, "entropy": entropies})
    by_outcome = means.pivot_table(index="question", columns="wrong", values="entropy").reindex(columns=[False, True])
    return {
        "gap": float(whole.value),
        "gap_low": float(whole.low),
        "gap_high": float(whole.high),
        "gap_ended": float(gap(entropies[ended], wrong[ended])),
        "gap_within": float((by_outcome[True] - by_outcome[False]).mean()),  # nan where a question has one outcome
    }


def digits(found: pd.DataFrame, column: str) -> str:
    """In how many answers to each question a column is true, as a digit, with | between benchmarks."""
    counts = found.groupby(QUESTION, sort=False)[column].sum()
    parts = counts.groupby("benchmark", sort=False).apply(lambda part: "".join(map(str, part)))
    return "|".join(parts)


def of_training(folder: Path, since: float) -> tuple[Row, list[Row]]:
    """The columns that come from a training's metrics and responses, and those of its steps.

    Args:
        since: when this run began it, as time.time() says; earlier steps are of an interrupted one.
    """
    metrics = folder / "metrics.jsonl"
    validation = read_metric(metrics, VALIDATION)
    lines = [line for line in map(json.loads, metrics.read_text().splitlines()) if steps.METRICS["nsr_share"] in line]
    table = pd.DataFrame(lines)
    responses = pd.read_parquet(folder / "responses.parquet", columns=["step", "group", "correct", "kind"])
    first, final = (responses[responses["step"] == step] for step in (1, responses["step"].max()))
    kinds = first.drop_duplicates("group")["kind"].astype(str)
    last = table.tail(quarter(table["step"]))

    def mean(name: str, rows: pd.DataFrame = table) -> float:
        return float(rows[name].mean()) if name in rows else np.nan

    row = {
        **dict(zip(CURVE, curve(validation), strict=True)),
        "first_pass_rate": float(first["correct"].mean()),
        "last_pass_rate": float(final["correct"].mean()),
        "first_correct": float((kinds == "entirely_correct").mean()),
        "first_incorrect": float((kinds == "entirely_incorrect").mean()),
        **{kind: mean(f"egpo/groups/{kind}") for kind in ("mixed", "entirely_correct", "entirely_incorrect")},
        "generated": mean("egpo/groups/generated"),
        "nsr_share": mean("egpo/nsr_share"),
        "weight_correct": mean("egpo/weight/correct/mean"),
        "weight_incorrect": mean("egpo/weight/incorrect/mean"),
        "training_gap": mean("egpo/entropy/gap", last),
        "steps": len(table),
        "resumed": int((table["time"] < since).sum()),
    }
    return row, steps.of_lines(lines)


def curve(validation: pd.Series) -> list[float]:
    """The accuracy at the start and after each tenth of the steps; nan where there was no validation.

    Args:
        validation: accuracies by step; the last step has one.
    """
    last = validation.index.max()
    return [float(validation.get(round(point * last / POINTS), np.nan)) for point in range(POINTS + 1)]
