"""Statistics of right and wrong answers. Pure functions on arrays of shape (training seeds, questions, trials).

Every question asked is in the array, with False where there is no usable answer; so each mean is over
what was asked for.
"""

from __future__ import annotations

import numpy as np
import pandas as pd


def correctness(records: pd.DataFrame) -> np.ndarray:
    """Booleans of shape (questions, trials) from the records of one model on one benchmark.

    Raises ValueError unless there is exactly one record for every question and trial.
    """
    table = records.pivot(index="question", columns="trial", values="correct")
    if table.isna().to_numpy().any():
        raise ValueError("a question has no record in some trial")
    return table.to_numpy(dtype=bool)


def accuracy(correct: np.ndarray) -> float:
    """Mean pass@1 over trials and training seeds: the share of right answers among all asked, 0 to 1."""
    return float(correct.mean())


def sd_over_trials(correct: np.ndarray) -> float:
    """Standard deviation (n - 1) of the accuracy from trial to trial of one model; nan for one trial.

    Over several training seeds the root of the mean variance, so that no spread between models enters.
    """
    trials = correct.mean(axis=1)
    return float(np.sqrt(trials.var(axis=1, ddof=1).mean())) if trials.shape[1] > 1 else float("nan")


def clustered_se(correct: np.ndarray) -> float:
    """Standard error of the accuracy over questions, each one a cluster of its answers; nan for one question.

    Answers to one question are not independent, so the questions' means are the observations
    (Miller 2024, "Adding error bars to evals"). The spread between training seeds is not in it.
    """
    questions = correct.mean(axis=(0, 2))
    return float(questions.std(ddof=1) / np.sqrt(questions.size)) if questions.size > 1 else float("nan")
