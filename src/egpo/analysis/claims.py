"""The claims of the paper's sections 4.2 to 4.5, tested on the records of an experiment; and beside them the controls.

A claim is supported or contradicted where a test of 5% finds a difference of the claimed or of the opposite sign, and
not decidable otherwise: because nothing was found, or because the experiment does not hold what the claim is about.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from egpo.analysis.comparisons import ABLATIONS, AGAINST_BASE, BETWEEN, p_text
from egpo.analysis.labels import label
from egpo.analysis.statistics import LEVEL
from egpo.common.paths import BASE
from egpo.config.experiment import Catalogue
from egpo.uncertainty.diagnosis import Diagnosis
from egpo.uncertainty.measures import gap, resampled

SUPPORTED, CONTRADICTED, OPEN = "supported", "contradicted", "not decidable"
CONTROLS = "control"  # in place of a section: the paper has none


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and what the records say of it.

    Attributes:
        section: of the paper, or CONTROLS.
        verdict: SUPPORTED, CONTRADICTED or OPEN.
        numbers: what the verdict rests on.
    """

    section: str
    says: str
    verdict: str
    numbers: str


def verdict(sign: int, claimed: int = 1) -> str:
    """The verdict on a difference of this sign; 0: no difference was found."""
    return OPEN if sign == 0 else SUPPORTED if sign == claimed else CONTRADICTED


def _sign(row: dict[Any, Any]) -> int:
    """The sign of a paired difference; 0 where its corrected p-value finds none."""
    return int(np.sign(row["difference"])) if row["p_holm"] < LEVEL else 0  # nan is not below it


def _together(verdicts: list[str]) -> str:
    """The verdict on a claim about several comparisons: one contradicts it, only all of them support it."""
    if CONTRADICTED in verdicts:
        return CONTRADICTED
    return SUPPORTED if verdicts and set(verdicts) == {SUPPORTED} else OPEN


def _over(catalogue: Catalogue, rows: pd.DataFrame, section: str, says: str, claimed: int = 1) -> Claim:
    """A claim about several rows of comparisons.csv."""
    verdicts, texts = [], []
    for row in rows.to_dict("records"):
        verdicts.append(verdict(_sign(row), claimed))
        p_value = p_text(row["p_holm"])
        name = catalogue.benchmarks[row["benchmark"]].label
        texts.append(f"{name} {row['difference']:+.2f}" + (f" (p {p_value})" if p_value else ""))
    return Claim(section, says, _together(verdicts), ", ".join(texts))


def accuracies(catalogue: Catalogue, comparisons: pd.DataFrame) -> Iterator[Claim]:
    """4.2: the main method is above the base and above every other method; and above every control."""
    ours = catalogue.experiment.main_method
    for (family, second), rows in comparisons[comparisons["first"] == ours].groupby(["family", "second"], sort=False):
        backbone = rows["backbone"].iloc[0]
        if str(family).endswith((AGAINST_BASE, BETWEEN)):
            method = None if second == BASE else catalogue.methods[str(second)]
            section = CONTROLS if method and method.is_control else "4.2"
            other = method.label if method else "base"
            yield _over(catalogue, rows, section, f"{label(catalogue, backbone, ours)} is above {other}")


def margins(catalogue: Catalogue, comparisons: pd.DataFrame, pairs: list[dict[str, str]]) -> Iterator[Claim]:
    """4.2: margins over the best baseline are larger for the larger model of a pair that the paper has."""
    known = [pair for pair in pairs if {pair["smaller"], pair["larger"]} <= set(catalogue.experiment.backbones)]
    if not known:
        yield Claim("4.2", "margins are larger for larger models", OPEN, "no two sizes of one model in this experiment")
    for pair in known:
        says = f"margins over the best baseline are larger for {pair['larger']} than for {pair['smaller']}"
        baselines = [
            name
            for name in catalogue.experiment.methods
            if name != catalogue.experiment.main_method and not catalogue.methods[name].is_control
        ]
        if not baselines:
            yield Claim("4.2", says, OPEN, "no baseline in this experiment")
            continue
        ours = comparisons[comparisons["first"] == catalogue.experiment.main_method]
        ours = ours[ours["second"].isin(baselines)]
        (small, small_se), (large, large_se) = (_margin(ours, pair[size]) for size in ("smaller", "larger"))
        error = math.hypot(small_se, large_se)
        found = not math.isnan(error) and abs(large - small) > norm.ppf(0.975) * error
        numbers = f"{small:+.2f} and {large:+.2f}, standard error of the difference {error:.2f}"
        yield Claim("4.2", says, verdict(int(np.sign(large - small)) if found else 0), numbers)


def _margin(leads: pd.DataFrame, backbone: str) -> tuple[float, float]:
    """Mean over benchmarks of the smallest lead over a baseline, and its standard error."""
    rows = leads[leads["family"] == f"{backbone}, {BETWEEN}"]
    least = rows.loc[rows.groupby("benchmark")["difference"].idxmin()]
    return least["difference"].mean(), math.sqrt((least["se"] ** 2).sum()) / len(least)


def ablations(catalogue: Catalogue, comparisons: pd.DataFrame) -> Iterator[Claim]:
    """4.3: every variant is below the method that it changes; so is every control among them."""
    chosen = catalogue.experiment.ablations
    if chosen is None:
        yield Claim("4.3", "the ablations are below EGPO", OPEN, "no ablation in this experiment")
        return
    reference = catalogue.methods[catalogue.experiment.main_method].label
    for method, rows in comparisons[comparisons["family"] == ABLATIONS].groupby("first", sort=False):
        variant = catalogue.methods[str(method)]
        section = CONTROLS if variant.is_control else "4.3"
        yield _over(catalogue, rows, section, f"{variant.label} is below {reference}", claimed=-1)


def _gaps(one: Diagnosis) -> tuple[float, np.ndarray]:
    """The gap of the response entropy, and that of every resample of the problems."""
    rows = one.of("response")
    entropies, incorrect = rows["response"].to_numpy(float), ~rows["correct"].to_numpy(bool)
    weights = resampled(rows["problem"].to_numpy())
    return gap(entropies, incorrect), gap(entropies, incorrect, weights)


def entropies(catalogue: Catalogue, found: dict[tuple[str, str], Diagnosis]) -> Iterator[Claim]:
    """4.4: the main method has the largest gap, the base a reversed one; 4.5: answers tell more than thoughts."""
    ours = catalogue.experiment.main_method
    for backbone in catalogue.experiment.backbones:
        gaps = {method: _gaps(one) for (name, method), one in found.items() if name == backbone}
        drawn = gaps[ours][1]
        verdicts = [verdict(_sign_of(drawn - others)) for method, (_, others) in gaps.items() if method != ours]
        listed = ", ".join(f"{method} {value:+.4f}" for method, (value, _) in gaps.items())
        says = f"{label(catalogue, backbone, ours)} has the largest gap between incorrect and correct"
        yield Claim("4.4", says, _together(verdicts), listed)
        value, draws = gaps[BASE]
        says = f"{label(catalogue, backbone, BASE)}: correct responses have the higher entropy"
        yield Claim("4.4", says, verdict(_sign_of(draws), -1), f"gap {value:+.4f} {_bounds(draws)}")
        base = found[backbone, BASE]
        if base.thinks:
            more = base.answer_over_thinking()
            says = f"{label(catalogue, backbone, BASE)}: answer entropy predicts better than thinking entropy"
            yield Claim("4.5", says, verdict(more.sign), f"AUC {more.value:+.3f} [{more.low:+.3f}, {more.high:+.3f}]")
    if not any(catalogue.backbones[name].thinks for name in catalogue.experiment.backbones):
        yield Claim("4.5", "answer entropy predicts better than thinking entropy", OPEN, "no model with thoughts")


def _quantiles(draws: np.ndarray) -> tuple[float, float]:
    draws = draws[~np.isnan(draws)]
    low, high = np.quantile(draws, [LEVEL / 2, 1 - LEVEL / 2]) if len(draws) else (math.nan, math.nan)
    return float(low), float(high)


def _sign_of(draws: np.ndarray) -> int:
    low, high = _quantiles(draws)
    return int(low > 0) - int(high < 0)


def _bounds(draws: np.ndarray) -> str:
    return "[{:+.4f}, {:+.4f}]".format(*_quantiles(draws))


def claims(
    catalogue: Catalogue,
    comparisons: pd.DataFrame,
    found: dict[tuple[str, str], Diagnosis],
    paper: dict[str, Any],
) -> list[Claim]:
    """Every claim.

    Args:
        comparisons: the rows of comparisons.csv.
        found: rollouts by backbone and method; empty without the section `uncertainty`.
        paper: config/paper-numbers.yaml.
    """
    pairs = [claim for claim in paper["text"] if claim["kind"] == "margin"]
    return [
        *accuracies(catalogue, comparisons),
        *margins(catalogue, comparisons, pairs),
        *ablations(catalogue, comparisons),
        *(entropies(catalogue, found) if found else ()),
    ]
