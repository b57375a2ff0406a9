r"""The reward of Eq. (1) as verl's reward function: +1 if the last \boxed{} is the answer, else -1."""

from __future__ import annotations

from typing import Any

from egpo.common.answers import extract_boxed
from egpo.verl_plugin.verifier_process import answers_equivalent_in_time


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None, **_: Any
) -> dict[str, float]:
    """Score one response.

    Returns:
        score: +1 or -1; acc: 1 or 0, which dynamic sampling and validation use.
    """
    answer = extract_boxed(solution_str)
    correct = answer is not None and answers_equivalent_in_time(answer, str(ground_truth))
    return {"score": 1.0 if correct else -1.0, "acc": float(correct)}
