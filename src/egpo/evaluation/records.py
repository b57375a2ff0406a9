"""One row per question and trial, from evalscope's files per sample.

evalscope leaves failed, excluded and missing samples out of its accuracy. Here such rows are wrong, and `status` says
why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from egpo.common.answer_letters import chosen_letter
from egpo.common.answers import answers_equivalent, extract_boxed
from egpo.common.errors import UserError

MODEL = "model"  # evalscope's name of the model, in its paths
STATUS = {
    "scored": "evalscope scored it",
    "excluded": "evalscope could not score it, or not in time",
    "missing": "evalscope wrote no score for it",
    "failed": "vLLM refused it or failed on it",
    "overflow": "the prompt leaves too little of the context for an answer; not asked",
}
SCHEMA = pa.schema(
    [
        ("benchmark", pa.string()),
        ("subset", pa.string()),
        ("question", pa.int32()),  # 0 to num_questions - 1 over all subsets, in evalscope's order
        ("trial", pa.int32()),  # from 1
        ("seed", pa.int64()),
        ("correct", pa.bool_()),
        ("status", pa.string()),
        ("prompt_tokens", pa.int32()),  # null where evalscope wrote nothing
        ("response_tokens", pa.int32()),  # null where there is no response, as `extracted` and `response`
        ("truncated", pa.bool_()),
        ("extracted", pa.string()),  # the answer, by evalscope
        ("target", pa.string()),
        (
            "verified",
            pa.bool_(),
        ),  # by the verifier of the training, or by its letter; null without a response or letter
        ("response", pa.string()),
    ]
)
USABLE = ("success", "fallback", "degraded")  # evalscope's ScoreStatus.is_usable


def read_rows(folder: Path, kind: str, adapter: str, subset: str) -> dict[int, dict[str, Any]]:
    """evalscope's rows of one subset by index; empty without a file.

    Args:
        folder: evalscope's working folder of the trial.
        kind: "predictions" or "reviews".

    Raises:
        UserError: a line is damaged.
    """
    path = folder / kind / MODEL / f"{adapter}_{subset}.jsonl"
    if not path.exists():
        return {}
    rows: dict[int, dict[str, Any]] = {}
    lines = path.read_text().removesuffix("\n").split("\n")  # splitlines() would split inside responses
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            rows[row["index"]] = row
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}: line {number} is damaged. Delete {folder} to run this trial again.") from None
    return rows


def outcome(prediction: dict[str, Any] | None, review: dict[str, Any] | None) -> dict[str, Any]:
    """The columns of a record that depend on the answer, from evalscope's rows of a sample, None where missing."""
    output = (prediction or {}).get("model_output") or {}
    choice = (output.get("choices") or [{}])[0]
    error = output.get("error")
    score = review["sample_score"]["score"] if review else {}
    value = _value(score)
    judge = score.get("judge_summary")  # of a judge; without a verdict its score of 0 does not count
    if error is not None:
        status = "overflow" if choice.get("stop_reason") == "model_length" else "failed"
    elif not review:
        status = "missing"
    elif value is None or score.get("status") not in USABLE or (judge and not judge["scored"]):
        status = "excluded"
    else:
        status = "scored"
    answered = prediction is not None and error is None
    response = choice["message"]["content"] if answered else None
    target = _target(review)
    return {
        "correct": status == "scored" and value is not None and float(value) > 0.99,
        "status": status,
        "prompt_tokens": output["usage"]["input_tokens"] if prediction is not None else None,
        "response_tokens": output["usage"]["output_tokens"] if answered else None,
        "truncated": answered and choice.get("stop_reason") == "max_tokens",
        "extracted": score.get("extracted_prediction") if answered else None,
        "target": target,
        "verified": verified(response, target) if response is not None and target is not None else None,
        "response": response,
    }


def _value(score: dict[str, Any]) -> float | None:
    """The main score: the one that evalscope names, or the only one where it names none (aime24)."""
    values = score.get("value") or {}
    name = score.get("main_score_name")
    return values.get(name) if name is not None else next(iter(values.values())) if len(values) == 1 else None


def _target(review: dict[str, Any] | None) -> str | None:
    """The reference answer of a sample, which evalscope writes as a list of one text."""
    target = (review or {}).get("target")
    if isinstance(target, list):
        return str(target[0]) if target else None
    return None if target is None else str(target)


def verified(response: str, target: str) -> bool | None:
    """Whether the response is correct by the verifier of the training, Eq. (1).

    Of a target that is a whole solution, as Minerva's, the last box is compared. Of multiple choice, the letter is
    compared that `egpo.common.answer_letters.chosen_letter` finds; None where it finds none.
    """
    if re.fullmatch(r"[A-Z]", target):
        letter = chosen_letter(response)
        return None if letter is None else letter == target
    box, truth = extract_boxed(response), extract_boxed(target)
    return box is not None and answers_equivalent(box, target if truth is None else truth)


def trial_rows(
    name: str, adapter: str, subsets: dict[str, int], folder: Path, trial: int, seed: int
) -> Iterable[dict[str, Any]]:
    """A row (SCHEMA) for every question of a trial, whatever evalscope wrote.

    Args:
        subsets: number of questions in each subset, in evalscope's order.
        folder: evalscope's working folder of the trial.
    """
    question = 0
    for subset, count in subsets.items():
        predictions = read_rows(folder, "predictions", adapter, subset)
        reviews = read_rows(folder, "reviews", adapter, subset)
        for index in range(count):
            yield {
                "benchmark": name,
                "subset": subset,
                "question": question,
                "trial": trial,
                "seed": seed,
                **outcome(predictions.get(index), reviews.get(index)),
            }
            question += 1
