"""Rows of the training and validation files in verl's format."""

from __future__ import annotations

from typing import Any

# evalscope's template of MATH-500 and GSM8K, so that prompts are the same in training and evaluation.
INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
DATA_SOURCE = "egpo/boxed-math"


def prompt(problem: str) -> list[dict[str, str]]:
    """The chat messages that ask for the solution of a problem."""
    return [{"role": "user", "content": f"{problem}\n{INSTRUCTION}"}]


def problem_of(row: dict[str, Any]) -> str:
    """The problem in a row of a training or validation file."""
    text: str = row["prompt"][-1]["content"]
    return text.removesuffix(f"\n{INSTRUCTION}")


def verl_row(problem: str, answer: str, **extra: Any) -> dict[str, Any]:
    """One row for verl's RLHFDataset; `extra` becomes its `extra_info`."""
    return {
        "data_source": DATA_SOURCE,
        "prompt": prompt(problem),
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": answer},
        "extra_info": extra,
    }
