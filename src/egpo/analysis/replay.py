"""Replay: what other methods make of the recorded responses of a training, without a model.

What it cannot say is what they would have made of the training: another method would have visited other responses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from egpo.analysis.learning import quarter
from egpo.common.errors import UserError
from egpo.config.methods import Calibration, Method
from egpo.methods.advantage import Calibrated, calibrate_responses
from egpo.training.responses import SCHEMA

LIMITS = (
    "A replay says what a method makes of these responses, step by step. It does not say what a training with it would "
    "do: after one step it would have another policy, and visit other responses. Dynamic sampling is not replayed: the "
    "groups are those of the run."
)
RECORDED = {
    ("sampled", "response"): "entropy",
    ("sampled", "thinking"): "entropy_thinking",
    ("sampled", "answer"): "entropy_answer",
    ("distribution", "response"): "entropy_distribution",
}
WHOLE = ("step", "group", "reward", "length", "weight", "advantage")  # columns in which every row has a value
RUN = "run"  # the name of the run's own method
# Where a step has no such response, the measure is left out.
MEASURES = {
    "weight_correct": "weight, correct",
    "weight_incorrect": "weight, incorrect in mixed groups",
    "weight_entirely_incorrect": "weight, entirely incorrect",
    "at_bound_correct": "at a bound, correct",
    "at_bound_incorrect": "at a bound, incorrect",
    "share_correct": "gradient from correct",
    "share_incorrect": "gradient from incorrect in mixed groups",
    "share_entirely_incorrect": "gradient from entirely incorrect",
    "correlation": "correlation with the run",
    "flipped": "signs flipped",
    "silent": "without advantage",
}
# Those whose course over the training is in the table.
COURSES = ("weight_correct", "weight_incorrect", "share_correct", "share_entirely_incorrect", "correlation", "flipped")


@dataclass(frozen=True)
class Recorded:
    """The n responses of a step.

    Attributes:
        rewards, lengths: (n,).
        prompts: n names of groups.
        entropies: (n,) float32 of each column of RECORDED, and "entropy_used".
        weights, advantages: (n,) float32, the run's own.
    """

    step: int
    rewards: torch.Tensor
    lengths: torch.Tensor
    prompts: list[str]
    entropies: dict[str, torch.Tensor]
    weights: torch.Tensor
    advantages: torch.Tensor


def recorded(files: list[Path]) -> Iterator[Recorded]:
    """The steps in the record of a training, in order; files: its one file, or one for each step so far."""
    columns = ["entropy_used", *RECORDED.values()]
    for file in files:
        table = _read(file)
        for _, rows in table.groupby("step", sort=True):
            yield Recorded(
                step=int(rows["step"].iloc[0]),
                rewards=torch.from_numpy(rows["reward"].to_numpy(copy=True)),
                lengths=torch.from_numpy(rows["length"].to_numpy(copy=True)),
                prompts=rows["group"].astype(str).tolist(),
                entropies={name: _tensor(rows[name]) for name in columns},
                weights=_tensor(rows["weight"]),
                advantages=_tensor(rows["advantage"]),
            )


def _read(file: Path) -> pd.DataFrame:
    """The columns of a record that a replay needs. Raises UserError: the file is damaged, or is something else."""
    wanted = pa.schema([SCHEMA.field(name) for name in (*WHOLE, "entropy_used", *RECORDED.values())])
    try:
        table = pq.ParquetFile(file).read().select(wanted.names).cast(wanted)
        if gaps := [name for name in WHOLE if table[name].null_count]:
            raise ValueError(f"{', '.join(gaps)}: rows without a value")
        if not len(table):
            raise ValueError("no rows")
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{file}: is not the whole record of a training's responses ({reason}). Copy it again, or name another "
            "training."
        ) from None
    return table.to_pandas()


def _tensor(values: pd.Series) -> torch.Tensor:
    return torch.from_numpy(values.to_numpy(dtype=np.float32, copy=True))


def _penalty(method: Method) -> float:
    return method.overlong_buffer.penalty_factor if method.overlong_buffer else 0.0


def _column(calibration: Calibration, own: Calibration) -> str:
    """The column with the entropies that a method uses."""
    wanted = (calibration.entropy, calibration.scope)
    if wanted == (own.entropy, own.scope):
        return "entropy_used"
    if wanted not in RECORDED:
        raise UserError(
            f"calibration.entropy: {wanted[0]} with scope: {wanted[1]} is in no record but that of a training with it."
        )
    return RECORDED[wanted]


def applied(step: Recorded, method: Method, own: Method, seed: int) -> Calibrated:
    """A method on a step of a training with the method `own` and this seed.

    Raises:
        UserError: the record does not have what it needs.
    """
    same_rewards = method.overlong_buffer == own.overlong_buffer
    if method.overlong_buffer is not None and not same_rewards:
        raise UserError("overlong_buffer: rewards with another one than the run's are not recorded.")
    if method.shuffled_answers != own.shuffled_answers:
        raise UserError("shuffled_answers: the verdicts on the answers of other problems are not recorded.")
    column = _column(method.calibration, own.calibration)
    entropies = step.entropies[column]
    # Of the entropies that the run itself used it had none either, and went on with weights of 1.
    if method.calibration.weight != "none" and column != "entropy_used" and torch.isnan(entropies).all():
        raise UserError(
            f"calibration.scope: {method.calibration.scope}: no response of step {step.step} has such a part."
        )
    rewards = step.rewards if same_rewards else torch.where(step.rewards > -0.5, 1.0, -1.0)
    penalty = _penalty(method) if same_rewards else 0.0
    return calibrate_responses(rewards, entropies, step.lengths, step.prompts, method.calibration, penalty, seed)


def measures(step: Recorded, result: Calibrated) -> dict[str, float]:
    """MEASURES of a method on a step; those of responses that do not occur are left out.

    The share of a gradient is that of sum |advantage| * length, as egpo/nsr_share (egpo.methods.metrics).
    """
    uniform = result.groups.spread(result.kinds.entirely_incorrect)
    parts = {"correct": result.correct, "incorrect": ~result.correct & ~uniform, "entirely_incorrect": uniform}
    mass = result.advantages.abs() * step.lengths
    found: dict[str, float] = {}
    for name, rows in parts.items():
        if rows.any():
            found[f"weight_{name}"] = result.weights.values[rows].mean().item()
        found[f"share_{name}"] = (mass[rows].sum() / mass.sum()).item() if mass.sum() > 0 else 0.0
    for name, rows in (("correct", result.correct), ("incorrect", ~result.correct)):
        if rows.any():
            found[f"at_bound_{name}"] = result.weights.at_bound[rows].float().mean().item()
    mine, own = result.advantages.double(), step.advantages.double()
    if mine.std() > 0 and own.std() > 0:
        found["correlation"] = torch.corrcoef(torch.stack([mine, own]))[0, 1].item()
    found["flipped"] = (mine * own < 0).double().mean().item()
    found["silent"] = (mine == 0).double().mean().item()
    return found


@dataclass(frozen=True)
class Replay:
    """Attributes:
    table: a row for each method, step and measure: method, step, measure, value.
    left_out: why a method could not be replayed, by its name; RUN is the method that the run had.
    differences: responses whose weight or advantage by the run's own method is not the recorded one, to the bit.
    responses: their number.
    """

    table: pd.DataFrame
    left_out: dict[str, str]
    differences: int
    responses: int


def replay(files: list[Path], own: Method, seed: int, methods: dict[str, Method]) -> Replay:
    """Apply methods to the record of a training with the method `own` and this training seed."""
    rows: list[dict[str, object]] = []
    left_out: dict[str, str] = {}
    differences = responses = 0

    def attempt(step: Recorded, name: str, method: Method) -> Calibrated | None:
        """A method on a step; None where that cannot be, here or at an earlier step."""
        if name not in left_out:
            try:
                return applied(step, method, own, seed)
            except UserError as error:
                left_out[name] = str(error)
        return None

    for step in recorded(files):
        responses += len(step.prompts)
        if (mine := attempt(step, RUN, own)) is not None:
            differences += int(((mine.advantages != step.advantages) | (mine.weights.values != step.weights)).sum())
        for name, method in methods.items():
            if (result := attempt(step, name, method)) is not None:
                found = measures(step, result)
                rows += [
                    {"method": name, "step": step.step, "measure": key, "value": value} for key, value in found.items()
                ]
    table = pd.DataFrame(rows, columns=["method", "step", "measure", "value"])
    return Replay(table[~table["method"].isin(left_out)], left_out, differences, responses)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over the steps: a row for each method, in the order of the table, and a column for each measure."""
    order = list(dict.fromkeys(table["method"]))
    means = table.pivot_table(index="method", columns="measure", values="value", aggfunc="mean")
    return means.reindex(index=order, columns=list(MEASURES))


def ends(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`summary` of the first quarter of the steps, and of the last."""
    steps = table["step"].drop_duplicates().sort_values()
    size = quarter(steps)
    first, last = (table[table["step"].isin(part)] for part in (steps.iloc[:size], steps.iloc[-size:]))
    return summary(first), summary(last)
