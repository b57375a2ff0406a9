"""The CSV of a study: a row for each attempt at a training, appended as it ends. It is committed, so it is small."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd

from egpo.common.errors import UserError
from egpo.common.files import write_text

POINTS = 10  # of a learning curve, after the start
CURVE = tuple(f"curve_{point}" for point in range(POINTS + 1))
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
    "unanswered": "of all these answers, those that vLLM failed on; they count as wrong",
    "truncated": "share of the sampled responses that reached the limit of tokens",
    "length": "mean tokens of the sampled responses",
    "entropy_correct": "mean entropy, Eq. (5), of the right sampled responses, in nats per token",
    "entropy_incorrect": "of the wrong ones",
    "gap": "entropy_incorrect less entropy_correct",
    "auc": "chance that a wrong sampled response has the higher entropy than a right one",
    **{name: "greedy accuracy on the validation rows" for name in CURVE},
    "first_pass_rate": "share of right rollouts in the first step, before any update",
    "first_correct": "share of entirely-correct groups in the first step",
    "first_incorrect": "share of entirely-incorrect groups in the first step",
    "mixed": "share of the groups in the updates, mean over steps",
    "entirely_correct": "the same",
    "entirely_incorrect": "the same",
    "generated": "groups generated for a step, mean",
    "nsr_share": "share of the sum of absolute advantages that is on entirely-incorrect groups, mean over steps",
    "weight_correct": "mean weight of the right responses, mean over steps",
    "weight_incorrect": "of the wrong ones",
    "training_gap": "gap of the rollouts, mean over the last quarter of the steps",
    "steps": "",
    "seconds": "from start to row",
    "cpu_seconds": "of all its processes",
    "model": "first 16 digits of the SHA-256 of the weights that it started from",
    "data": "the same of the training rows",
    "code": "hash of the code of the training and of the evaluation",
    "commit": "of the repository; + where files differed from it",
    "command": "",
    "date": "",
}
ORIGIN = ["model", "data", "code"]
Row = dict[str, Any]


def read(file: Path) -> pd.DataFrame:
    """All rows; none where there is no file yet.

    Raises:
        UserError: the file has other columns.
    """
    if not file.exists():
        return pd.DataFrame(columns=list(COLUMNS))
    table = pd.read_csv(file, dtype=dict.fromkeys(("greedy_right", "sampled_right", *ORIGIN), str))
    if list(table.columns) != list(COLUMNS):
        odd = sorted(set(table.columns) ^ set(COLUMNS)) or ["their order"]
        raise UserError(f"{file}: has other columns than this code writes ({', '.join(odd)}): give another --out.")
    return table


def append(file: Path, row: Row) -> None:
    """Write the file anew with one more row, whole or not at all.

    Raises:
        ValueError: the row has a name that is no column.
    """
    if odd := row.keys() - COLUMNS.keys():
        raise ValueError(f"no columns of the study: {sorted(odd)}")
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS), restval="", lineterminator="\n")
    if not file.exists():
        writer.writeheader()
    writer.writerow({name: _text(value) for name, value in row.items()})
    write_text(file, (file.read_text() if file.exists() else "") + text.getvalue())


def _text(value: Any) -> Any:
    if isinstance(value, float):
        return "" if value != value else f"{value:.5g}"
    return " ".join(value.split()) if isinstance(value, str) else value  # a reason may have several lines
