"""Entropy statistics of rollouts: entropies of the parts of a response, AUC, gap, calibration error.

Entropies are Eq. (5), in nats per token. The thoughts are the tokens before the first </think>; the answer is the
tokens after it, without the one that ends the response. The whole response has all tokens, as in the training. The
entropy of an empty part is nan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from egpo.uncertainty.rollout_files import how_made, read_rollouts

PARTS = ("response", "thinking", "answer")
RESAMPLES = 1000
BINS = 10


def parts(tokens: Sequence[int], truncated: bool, end_of_thought: int | None) -> dict[str, slice]:
    """Which tokens belong to each part of a response.

    Args:
        truncated: whether the response was cut off, and so has no token that ends it.
        end_of_thought: token id of </think>; None for a model without thoughts.

    Returns:
        By part; "response" only for a model without thoughts. A response without </think> has an empty answer.
    """
    length = len(tokens)
    found = {"response": slice(0, length)}
    if end_of_thought is None:
        return found
    last = length if truncated else length - 1
    try:
        end = list(tokens).index(end_of_thought)
    except ValueError:
        return {**found, "thinking": slice(0, last), "answer": slice(0, 0)}
    return {**found, "thinking": slice(0, end), "answer": slice(end + 1, max(last, end + 1))}


def entropy(logprobs: Sequence[float], where: slice) -> float:
    """Mean of -log p over a part, in nats per token; nan for an empty part."""
    part = np.asarray(logprobs[where], dtype=np.float64)
    return float(-part.mean()) if part.size else np.nan


def measure_rollouts(path: Path) -> pd.DataFrame:
    """Entropy and length of every part of every rollout.

    Args:
        path: rollouts.parquet of a model.

    Returns:
        A row per rollout: problem, uuid, trial, correct, truncated; the entropy of each part under its name, and its
        number of tokens as `<part>_tokens` (nan and 0 for parts that the model does not have); `ended`, whether the
        thoughts end.
    """
    end = how_made(path)["end_of_thought"]
    rows = []
    columns = ["problem", "uuid", "trial", "correct", "truncated", "tokens", "logprobs"]
    for table in read_rollouts(path, columns):
        for row in table.to_pylist():
            tokens, logprobs = row.pop("tokens"), row.pop("logprobs")
            found = parts(tokens, row["truncated"], end)
            row |= {name: entropy(logprobs, found[name]) if name in found else np.nan for name in PARTS}
            row |= {f"{name}_tokens": len(tokens[found[name]]) if name in found else 0 for name in PARTS}
            rows.append({**row, "ended": end is not None and end in tokens})
    return pd.DataFrame(rows)


def _ratio(above: np.ndarray, below: np.ndarray) -> Any:
    """above / below, nan where below is 0."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)[()]


def _weights(entropies: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return np.ones(len(entropies)) if weights is None else weights


def auc(entropies: np.ndarray, incorrect: np.ndarray, weights: np.ndarray | None = None) -> Any:
    """Probability that an incorrect response has a higher entropy than a correct one; a tie counts half.

    The same as scikit-learn's roc_auc_score, for many weights at once.

    Args:
        entropies: (n,), in nats per token.
        incorrect: (n,) booleans.
        weights: (n,), or (resamples, n) for one value per resample; None for equal weights.

    Returns:
        A value, or (resamples,) of them; nan where all responses are correct or all are incorrect.
    """
    order = np.argsort(entropies, kind="stable")
    values = entropies[order]
    sorted_weights = _weights(entropies, weights)[..., order]
    if not len(values):
        return np.full(sorted_weights.shape[:-1], np.nan)[()]
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    bad, good = (np.add.reduceat(sorted_weights * kind[order], starts, axis=-1) for kind in (incorrect, ~incorrect))
    below = np.cumsum(good, axis=-1) - good
    pairs = bad.sum(axis=-1) * good.sum(axis=-1)
    return _ratio((bad * (below + good / 2)).sum(axis=-1), pairs)


def gap(entropies: np.ndarray, incorrect: np.ndarray, weights: np.ndarray | None = None) -> Any:
    """Mean entropy of the incorrect responses minus that of the correct ones; arguments and result as of `auc`."""
    chosen = _weights(entropies, weights)
    bad, good = (_ratio(chosen @ (entropies * kind), chosen @ kind) for kind in (incorrect, ~incorrect))
    return bad - good


def calibration_error(entropies: np.ndarray, incorrect: np.ndarray, weights: np.ndarray | None = None) -> Any:
    """Expected calibration error (Guo et al. 2017) of the confidence exp(-H), in BINS bins of equal width.

    exp(-H) is the geometric mean of the tokens' probabilities. Not in the paper. Arguments as of `auc`.
    """
    chosen, confidence = _weights(entropies, weights), np.exp(-entropies)
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    excess = np.zeros((len(entropies), BINS))
    excess[np.arange(len(entropies)), place] = confidence - ~incorrect
    return _ratio(np.abs(chosen @ excess).sum(axis=-1), chosen.sum(axis=-1))


Measure = Callable[[np.ndarray, np.ndarray, np.ndarray | None], Any]


def resampled(problems: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """Weights (resamples, n) of a bootstrap over problems: how often the problem of each rollout was drawn."""
    names, place = np.unique(problems, return_inverse=True)
    if not (count := len(names)):
        return np.zeros((resamples, 0))
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return drawn[:, place].astype(np.float64)


@dataclass(frozen=True)
class Estimate:
    """A measure with its 95% interval by bootstrap over problems; nan where it is undefined."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval is above or below 0, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def estimate(measure: Measure, entropies: np.ndarray, incorrect: np.ndarray, weights: np.ndarray) -> Estimate:
    """A measure and its interval, with weights of `resampled`; resamples where it is undefined are left out."""
    return _interval(measure(entropies, incorrect, None), measure(entropies, incorrect, weights))


def difference(first: np.ndarray, second: np.ndarray, incorrect: np.ndarray, weights: np.ndarray) -> Estimate:
    """AUC of the second entropy minus that of the first, on the same rollouts and resamples."""
    drawn = auc(second, incorrect, weights) - auc(first, incorrect, weights)
    return _interval(auc(second, incorrect) - auc(first, incorrect), drawn)


def _interval(value: float, drawn: np.ndarray) -> Estimate:
    drawn = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(drawn):
        return Estimate(float(value), np.nan, np.nan)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(value), float(low), float(high))


def roc(entropies: np.ndarray, incorrect: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates when responses with an entropy above a threshold are called incorrect."""
    from sklearn.metrics import roc_curve  # takes seconds, and only one figure needs it

    false, true, _ = roc_curve(incorrect, entropies)
    return false, true


def usable(rollouts: pd.DataFrame, thinks: bool) -> pd.DataFrame:
    """The rollouts that have all parts: every AUC is computed over the same ones, so that they are comparable."""
    names = list(PARTS) if thinks else ["response"]
    return rollouts.dropna(subset=names)
