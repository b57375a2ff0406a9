"""The answers of every model, from its records: what accuracies, comparisons and lengths are computed from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from egpo.analysis.statistics import correctness
from egpo.common.errors import UserError
from egpo.common.paths import Model
from egpo.config.experiment import Catalogue, Scorer
from egpo.inference.decoding import METADATA

VERDICTS: dict[Scorer, str] = {"evalscope": "correct", "verifier": "verified"}  # columns of the records
NOT_SCORED = ("excluded", "missing", "failed", "overflow")
# Not `response`, which is nearly all of a file.
COLUMNS = [
    "benchmark",
    "subset",
    "question",
    "trial",
    "correct",
    "status",
    "prompt_tokens",
    "response_tokens",
    "truncated",
    "extracted",
    "verified",
]


@dataclass(frozen=True)
class Answers:
    """All answers of one backbone and method to one benchmark.

    Attributes:
        rows: the records of each training seed.
        made: how the records of each training seed were made.
        scored_by: whose verdicts `correct` has.
    """

    backbone: str
    method: str
    benchmark: str
    rows: tuple[pd.DataFrame, ...]
    made: tuple[dict[str, Any], ...]
    scored_by: Scorer = "evalscope"

    @cached_property
    def correct(self) -> np.ndarray:
        """Booleans (training seeds, questions, trials), by `scored_by`."""
        return self.correct_by(self.scored_by)

    def correct_by(self, scorer: Scorer) -> np.ndarray:
        """Booleans (training seeds, questions, trials). What the verifier has no verdict on is wrong."""
        return np.stack([correctness(rows, VERDICTS[scorer]) for rows in self.rows])

    @cached_property
    def together(self) -> pd.DataFrame:
        return pd.concat(self.rows, ignore_index=True)

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many answers are of each kind in NOT_SCORED, "truncated", or "shortened" (less than the whole budget)."""
        status = Counter(self.together["status"])
        limit, context = self.made[0]["max_tokens"], self.made[0]["max_model_len"]
        short = (self.together["prompt_tokens"] > context - limit) & (self.together["status"] != "overflow")
        return {
            **{kind: status[kind] for kind in NOT_SCORED},
            "truncated": int(self.together["truncated"].sum()),
            "shortened": int(short.sum()),
        }

    def column(self, name: str) -> np.ndarray:
        """Objects (training seeds, questions, trials) of a column of the records."""
        return np.stack(
            [rows.pivot(index="question", columns="trial", values=name).to_numpy(object) for rows in self.rows]
        )


def read_records(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Records of one model without the responses, and how they were made.

    Raises:
        UserError: the file does not hold records.
    """
    try:
        table = pq.read_table(path, columns=COLUMNS)
        made = json.loads((table.schema.metadata or {})[METADATA])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not the records of an evaluation ({error}). Delete it and run again.") from None
    return table.to_pandas(), made


def _checked(rows: pd.DataFrame, benchmark: str, catalogue: Catalogue, path: Path) -> pd.DataFrame:
    """The rows of a benchmark, if they are as many as the experiment asks for."""
    mine = rows[rows["benchmark"] == benchmark]
    found = (mine["question"].nunique(), mine["trial"].nunique())
    asked = (catalogue.benchmarks[benchmark].num_questions, len(catalogue.experiment.evaluation.seeds))
    if found != asked or len(mine) != asked[0] * asked[1]:
        raise UserError(
            f"{path}: holds {found[0]} questions and {found[1]} trials of {benchmark}; the experiment asks for "
            f"{asked[0]} and {asked[1]}. Delete it and run the evaluation again."
        )
    return mine


def read_answers(
    catalogue: Catalogue, records: dict[Model, Path], benchmarks: Iterable[str]
) -> dict[tuple[str, str, str], Answers]:
    """The answers by backbone, method and benchmark, in the order of `records`; training seeds are put together.

    Args:
        records: `records.parquet` of each model.
        benchmarks: the benchmarks that are read; the files may hold more.

    Raises:
        UserError: a file does not hold what the experiment asks for.
    """
    seeds: dict[tuple[str, str], list[Path]] = {}
    for (backbone, method, _), path in records.items():
        seeds.setdefault((backbone, method), []).append(path)
    found = {}
    names = list(benchmarks)
    for (backbone, method), paths in seeds.items():
        read = [(path, *read_records(path)) for path in paths]
        for name in names:
            rows = tuple(_checked(frame, name, catalogue, path) for path, frame, _ in read)
            made = tuple(made for _, _, made in read)
            found[backbone, method, name] = Answers(backbone, method, name, rows, made, catalogue.experiment.scored_by)
    return found
