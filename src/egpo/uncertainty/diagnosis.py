"""The measures of one model's rollouts, for Table 3, the entropy figures and the claims."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from egpo.common.errors import UserError
from egpo.config.experiment import Catalogue
from egpo.uncertainty.measures import (
    PARTS,
    Estimate,
    auc,
    calibration_error,
    difference,
    estimate,
    gap,
    resampled,
    usable,
)

Model = tuple[str, str, int]  # backbone, method, training seed


@dataclass(frozen=True)
class Diagnosis:
    """All rollouts of a backbone and method, of all training seeds; the bootstrap draws a problem with all of them."""

    backbone: str
    method: str
    rollouts: pd.DataFrame
    thinks: bool

    @cached_property
    def used(self) -> pd.DataFrame:
        """The rollouts that every AUC is computed over."""
        return usable(self.rollouts, self.thinks)

    @property
    def parts(self) -> tuple[str, ...]:
        return PARTS if self.thinks else ("response",)

    def of(self, part: str) -> pd.DataFrame:
        """The rollouts of densities and gaps: all for the response, those with both parts for a part."""
        return self.rollouts if part == "response" else self.used

    @cached_property
    def incorrect(self) -> np.ndarray:
        return ~self.used["correct"].to_numpy(bool)

    @cached_property
    def weights(self) -> np.ndarray:
        return resampled(self.used["problem"].to_numpy())

    def entropies(self, part: str) -> np.ndarray:
        return self.used[part].to_numpy(np.float64)

    def auc(self, part: str) -> Estimate:
        return estimate(auc, self.entropies(part), self.incorrect, self.weights)

    def gap(self, part: str) -> Estimate:
        rows = self.of(part)
        weights = resampled(rows["problem"].to_numpy())
        return estimate(gap, rows[part].to_numpy(np.float64), ~rows["correct"].to_numpy(bool), weights)

    def calibration_error(self, part: str) -> Estimate:
        return estimate(calibration_error, self.entropies(part), self.incorrect, self.weights)

    def answer_over_thinking(self) -> Estimate:
        """AUC of the answer's entropy minus that of the thoughts'."""
        return difference(self.entropies("thinking"), self.entropies("answer"), self.incorrect, self.weights)

    def left_out(self) -> dict[str, int]:
        """Number of rollouts that are left out of every AUC, by reason."""
        if not self.thinks:
            return {}
        open_ended = ~self.rollouts["ended"]
        empty = self.rollouts["ended"] & self.rollouts[["thinking", "answer"]].isna().any(axis=1)
        return {"thoughts without an end": int(open_ended.sum()), "an empty part": int(empty.sum())}


def diagnose(catalogue: Catalogue, measures: dict[Model, Path]) -> dict[tuple[str, str], Diagnosis]:
    """The rollouts of every model, by backbone and method.

    Args:
        measures: measures.parquet of every model.

    Raises:
        UserError: a file does not hold the problems and rollouts that the experiment asks for.
    """
    chosen = catalogue.experiment.uncertainty
    assert chosen is not None
    asked = (catalogue.experiment.data.heldout_rows, chosen.rollouts_per_prompt)
    frames: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for (backbone, method, seed), path in measures.items():
        table = pd.read_parquet(path)
        found = (table["problem"].nunique(), table["trial"].nunique())
        if found != asked or len(table) != asked[0] * asked[1]:
            raise UserError(
                f"{path}: holds {found[0]} problems and {found[1]} rollouts of each; the experiment asks for "
                f"{asked[0]} and {asked[1]}. Delete it and run again."
            )
        frames.setdefault((backbone, method), []).append(table.assign(training_seed=seed))
    return {
        (backbone, method): Diagnosis(
            backbone, method, pd.concat(tables, ignore_index=True), catalogue.backbones[backbone].thinks
        )
        for (backbone, method), tables in frames.items()
    }
