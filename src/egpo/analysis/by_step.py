"""Accuracy by training step: the backbone, the models that trainings have kept on their way, and the final ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from egpo.analysis.answers import VERDICTS, read_records
from egpo.analysis.labels import note
from egpo.analysis.learning import read_metric
from egpo.analysis.statistics import accuracy, correctness, interval, standard_error
from egpo.common.errors import UserError
from egpo.common.paths import BASE, BASE_SEED, Milestone, Model
from egpo.config.experiment import Catalogue
from egpo.config.matrix import milestone_benchmarks
from egpo.training.progress import REWARD

RESAMPLES = 2000  # as for Table 1, so that the last point has its interval


def by_step(
    catalogue: Catalogue, records: dict[Model, Path], milestones: dict[Milestone, Path], metrics: dict[Model, Path]
) -> pd.DataFrame:
    """A row for each backbone, method, benchmark and step; accuracies, their errors and intervals in percent.

    Step 0 is the backbone, and the last step the final model, both with all their trials, as in Table 1. Training
    seeds are put together.

    Args:
        records: `records.parquet` of each backbone and final model.
        milestones: `records.parquet` of each milestone.
        metrics: `metrics.jsonl` of each training.

    Raises:
        UserError: a file does not hold every question of a benchmark.
    """
    seeds = catalogue.experiment.training_seeds
    read = {path: read_records(path)[0] for path in [*records.values(), *milestones.values()]}
    rows = []
    for backbone, method in dict.fromkeys(milestone[:2] for milestone in milestones):
        points = {0: [records[backbone, BASE, BASE_SEED]]}
        for step in dict.fromkeys(milestone[3] for milestone in milestones):
            points[step] = [milestones[backbone, method, seed, step] for seed in seeds]
        last = int(read_metric(metrics[backbone, method, seeds[0]], REWARD).index.max())
        points[last] = [records[backbone, method, seed] for seed in seeds]
        for name in milestone_benchmarks(catalogue.experiment, method):
            for step, paths in points.items():
                correct = np.stack([_verdicts(catalogue, read[path], name, path) for path in paths])
                row = {"backbone": backbone, "method": method, "benchmark": name, "step": step}
                rows.append({**row, **dict(_numbers(correct)), "note": note(catalogue)})
    return pd.DataFrame(rows)


def _verdicts(catalogue: Catalogue, rows: pd.DataFrame, benchmark: str, path: Path) -> np.ndarray:
    """Booleans (questions, trials)."""
    mine, asked = rows[rows["benchmark"] == benchmark], catalogue.benchmarks[benchmark].num_questions
    if mine["question"].nunique() != asked:
        raise UserError(
            f"{path}: holds {mine['question'].nunique()} questions of {benchmark}, not {asked}. Delete it and run the "
            "evaluation again."
        )
    return correctness(mine, VERDICTS[catalogue.experiment.scored_by])


def _numbers(correct: np.ndarray) -> Iterator[tuple[str, Any]]:
    """Columns of a point, from booleans (training seeds, questions, trials)."""
    low, high = interval(correct, resamples=RESAMPLES)
    shares = {"accuracy": accuracy(correct), "se": standard_error(correct), "low": low, "high": high}
    yield from ((name, 100 * share) for name, share in shares.items())
    yield from zip(("n_training_seeds", "n_questions", "n_trials"), correct.shape, strict=True)
