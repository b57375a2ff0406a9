"""What trainings have learned, from their metrics: rewards and validation accuracies."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from egpo.analysis.labels import note
from egpo.common.errors import UserError
from egpo.common.paths import Model
from egpo.config.experiment import Catalogue
from egpo.data.verl_rows import DATA_SOURCE
from egpo.training.progress import REWARD

VALIDATION = f"val-core/{DATA_SOURCE}/acc/mean@1"  # verl's name of the accuracy on the validation rows


def read_metric(metrics: Path, name: str) -> pd.Series:
    """The values of a metric, by training step.

    Raises:
        UserError: the file never has it.
    """
    table = pd.read_json(metrics, lines=True)
    if name not in table:
        raise UserError(f"{metrics}: holds no '{name}': it is not the metrics file of a training.")
    return table.dropna(subset=[name]).set_index("step")[name]


def summary(catalogue: Catalogue, metrics: dict[Model, Path]) -> pd.DataFrame:
    """A row per training, from its metrics.jsonl.

    Reward of the first and last quarter of the steps, their difference with its standard error over steps, and
    validation accuracy before the first and after the last step.
    """
    rows = []
    for (backbone, method, seed), path in metrics.items():
        rewards, validation = read_metric(path, REWARD), read_metric(path, VALIDATION)
        size = quarter(rewards)
        gain, error = quarter_gain(rewards)
        row = {"backbone": backbone, "method": method, "training_seed": seed, "steps": len(rewards)}
        row |= {"reward_first_quarter": rewards.iloc[:size].mean(), "reward_last_quarter": rewards.iloc[-size:].mean()}
        row |= {"gain": gain, "gain_se": error}
        row |= {"validation_first": validation.iloc[0], "validation_last": validation.iloc[-1]}
        rows.append({**row, "note": note(catalogue)})
    return pd.DataFrame(rows)


def quarter(rewards: pd.Series) -> int:
    """Steps in a quarter of a training."""
    return max(1, len(rewards) // 4)


def quarter_gain(rewards: pd.Series) -> tuple[float, float]:
    """Mean of the last quarter of the steps less that of the first, and the standard error of the difference."""
    size = quarter(rewards)
    first, last = rewards.iloc[:size], rewards.iloc[-size:]
    error = ((first.var(ddof=1) + last.var(ddof=1)) / size) ** 0.5
    return float(last.mean() - first.mean()), float(error)


def first_and_last(responses: pd.DataFrame) -> pd.DataFrame:
    """Share of right responses to each problem that came more than once: at its first and at its last time.

    The same problems both times, so the difference does not depend on which ones a step has.

    Args:
        responses: of a training (egpo.training.responses.SCHEMA).

    Returns:
        first and last, 0 to 1, by problem.
    """
    shares = responses.groupby(["problem", "step"], observed=True)["correct"].mean().groupby("problem", observed=True)
    return pd.DataFrame({"first": shares.first(), "last": shares.last()})[shares.size() > 1]
