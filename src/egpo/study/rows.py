"""The CSV of a study: a row for each attempt at a training, appended as it ends."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from egpo.study import csv_file
from egpo.study.csv_file import Row

POINTS = 10  # of a learning curve, after the start
CURVE = tuple(f"curve_{point}" for point in range(POINTS + 1))
TRAINING = ["backbone", "method", "seed", "attempt"]
COLUMNS = {
    "backbone": "",
    "method": "",
    "seed": "of the training: the order of the problems, and what is sampled",
    "attempt": "of the block: 1, or 2 for the one repetition of a training that failed",
    "status": "ok or failed",
    "reason": "why it failed",
    "greedy": "accuracy of the trained model on the held-out questions, greedy; share",
    "sampled": "the same, sampled with the decoding of the section `evaluation`; mean over its trials",
    "greedy_right": "for each question 1 or 0; | between benchmarks, in the order of the configuration",
    "sampled_right": "for each question the number of right answers among the trials",
    "sampled_truncated": "for each question the number of answers that reached the limit of tokens",
    "unanswered": "of all these answers, those that vLLM failed on; they count as wrong",
    "truncated": "share of the sampled responses that reached the limit of tokens",
    "length": "mean tokens of the sampled responses",
    "entropy_correct": "mean entropy, Eq. (5), of the right sampled responses, in nats per token",
    "entropy_incorrect": "of the wrong ones",
    "gap": "entropy_incorrect less entropy_correct",
    "gap_low": "lower bound of its 95% interval, by bootstrap over the questions",
    "gap_high": "upper bound",
    "gap_ended": "gap of the responses that ended before the limit of tokens",
    "gap_within": "mean gap within a question, over the questions with right and wrong answers: free of difficulty",
    "auc": "chance that a wrong sampled response has the higher entropy than a right one",
    **{name: "greedy accuracy on the validation rows" for name in CURVE},
    "first_pass_rate": "share of right rollouts in the first step, before any update",
    "last_pass_rate": "in the last step, before its update",
    "first_correct": "share of entirely-correct groups in the first step",
    "first_incorrect": "share of entirely-incorrect groups in the first step",
    "mixed": "share of the groups in the updates, mean over steps",
    "entirely_correct": "the same",
    "entirely_incorrect": "the same",
    "generated": "groups generated for a step, mean",
    "nsr_share": "share of the sum of absolute advantages that is on entirely-incorrect groups, mean over steps",
    "weight_correct": "mean weight of the right responses, mean over steps; also of those without an advantage, "
    "which are in entirely-correct groups",
    "weight_incorrect": "of the wrong ones, also of those without an advantage, where the method has no NSR",
    "training_gap": "gap of the rollouts, mean over the last quarter of the steps",
    "steps": "",
    "resumed": "of these, steps that an interrupted run had made",
    "seconds": "from start to row, of the run that ended it",
    "at_once": "trainings at the same time in this run, at most",
    "model": "first 16 digits of the SHA-256 of the weights that it started from",
    "data": "hash of the training rows, the validation rows and the questions",
    "code": "hash of the code that trains, answers and measures",
    "processor": "its name, and the instructions that torch uses",
    "commit": "of the repository; + where files differed from it",
    "command": "",
    "date": "",
}
ORIGIN = ["model", "data", "code", "processor"]
TEXTS = ("greedy_right", "sampled_right", "sampled_truncated", *ORIGIN)


def read(file: Path) -> pd.DataFrame:
    """All rows; none where there is no file yet.

    Raises:
        UserError: the file has other columns.
    """
    return csv_file.read(file, list(COLUMNS), TEXTS)


def append(file: Path, row: Row) -> None:
    """Add a row.

    Raises:
        ValueError: the row has a name that is no column.
    """
    csv_file.append(file, list(COLUMNS), [row], digits=5)
