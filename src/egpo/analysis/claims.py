"""The claims of the paper's sections 4.2 to 4.5, tested on this experiment's own records.

A claim is supported or contradicted where a test of 5% finds a difference of the claimed or of the opposite sign, and
not decidable otherwise: because nothing was found, or because the experiment does not hold what the claim is about.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from egpo.analysis.comparisons import ABLATIONS, AGAINST_BASE, BETWEEN, p_text
from egpo.analysis.measured import label, note
from egpo.common.files import write_text
from egpo.common.paths import BASE, ROOT
from egpo.config.experiment import Catalogue
from egpo.config.files import read_yaml
from egpo.report.tables.accuracy import PAPER, markdown_table
from egpo.uncertainty.diagnosis import Diagnosis, Model, diagnose
from egpo.uncertainty.measures import gap, resampled

SUPPORTED, CONTRADICTED, OPEN = "supported", "contradicted", "not decidable"
LEVEL = 0.05


@dataclass(frozen=True)
class Claim:
    """section: of the paper; verdict: SUPPORTED, CONTRADICTED or OPEN; numbers: what it rests on."""

    section: str
    says: str
    verdict: str
    numbers: str


def verdict(sign: int, claimed: int = 1) -> str:
    """sign: of what was found, 0 for nothing."""
    return OPEN if sign == 0 else SUPPORTED if sign == claimed else CONTRADICTED


def _sign(row: Any) -> int:
    """Of a paired difference, where its corrected p-value finds one."""
    found = not math.isnan(row.p_holm) and row.p_holm < LEVEL
    return int(np.sign(row.difference)) if found else 0


def _together(verdicts: list[str]) -> str:
    """A claim about several things: contradicted by one, supported by all."""
    if CONTRADICTED in verdicts:
        return CONTRADICTED
    return SUPPORTED if verdicts and set(verdicts) == {SUPPORTED} else OPEN


def _over(catalogue: Catalogue, rows: pd.DataFrame, section: str, says: str, claimed: int = 1) -> Claim:
    """One claim on several rows of comparisons.csv."""
    found = [verdict(_sign(row), claimed) for row in rows.itertuples()]
    texts = [
        f"{catalogue.benchmarks[row.benchmark].label} {row.difference:+.2f}"
        + ("" if math.isnan(row.p_holm) else f" (p {p_text(row.p_holm)})")
        for row in rows.itertuples()
    ]
    return Claim(section, says, _together(found), ", ".join(texts))


def accuracies(catalogue: Catalogue, comparisons: pd.DataFrame) -> Iterator[Claim]:
    """4.2: the main method is above the base and above every other method."""
    ours = catalogue.experiment.main_method
    for (family, second), rows in comparisons[comparisons["first"] == ours].groupby(["family", "second"], sort=False):
        backbone = rows["backbone"].iloc[0]
        if str(family).endswith((AGAINST_BASE, BETWEEN)):
            other = "base" if second == BASE else catalogue.methods[str(second)].label
            yield _over(catalogue, rows, "4.2", f"{label(catalogue, backbone, ours)} is above {other}")


def margins(catalogue: Catalogue, comparisons: pd.DataFrame) -> Iterator[Claim]:
    """4.2: margins over the best baseline are larger for the larger model of a pair that the paper has."""
    ours, backbones = catalogue.experiment.main_method, catalogue.experiment.backbones
    pairs = [claim for claim in read_yaml(ROOT / PAPER)["text"] if claim["kind"] == "margin"]
    known = [claim for claim in pairs if {claim["smaller"], claim["larger"]} <= set(backbones)]
    if not known:
        yield Claim("4.2", "margins are larger for larger models", OPEN, "no two sizes of one model in this experiment")
    for claim in known:
        (small, small_se), (large, large_se) = (
            _margin(comparisons, claim[size], ours) for size in ("smaller", "larger")
        )
        error = math.hypot(small_se, large_se)
        sign = 0 if math.isnan(error) else int(np.sign(large - small)) * (abs(large - small) > norm.ppf(0.975) * error)
        numbers = f"{small:+.2f} and {large:+.2f}, standard error of the difference {error:.2f}"
        says = f"margins over the best baseline are larger for {claim['larger']} than for {claim['smaller']}"
        yield Claim("4.2", says, verdict(int(sign)), numbers)


def _margin(comparisons: pd.DataFrame, backbone: str, ours: str) -> tuple[float, float]:
    """Mean over benchmarks of the smallest lead over another method, and its standard error."""
    rows = comparisons[(comparisons["family"] == f"{backbone}, {BETWEEN}") & (comparisons["first"] == ours)]
    least = rows.loc[rows.groupby("benchmark")["difference"].idxmin()]
    return least["difference"].mean(), math.sqrt((least["se"] ** 2).sum()) / len(least)


def ablations(catalogue: Catalogue, comparisons: pd.DataFrame) -> Iterator[Claim]:
    """4.3: every variant is below the method that it changes."""
    chosen = catalogue.experiment.ablations
    if chosen is None:
        yield Claim("4.3", "the ablations are below EGPO", OPEN, "no ablation in this experiment")
        return
    reference = catalogue.methods[catalogue.experiment.main_method].label
    for method, rows in comparisons[comparisons["family"] == ABLATIONS].groupby("first", sort=False):
        says = f"{catalogue.methods[str(method)].label} is below {reference}"
        yield _over(catalogue, rows, "4.3", says, claimed=-1)


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


def markdown(catalogue: Catalogue, claims: list[Claim]) -> str:
    seeds = len(catalogue.experiment.training_seeds)
    counts = ", ".join(
        f"{sum(one.verdict == kind for one in claims)} {kind}" for kind in (SUPPORTED, CONTRADICTED, OPEN)
    )
    about = (
        "One training per method: every verdict is about these trained models. Another training seed could turn it; "
        "none is about the methods."
        if seeds == 1
        else f"{seeds} training seeds per method are the outer unit of the accuracies' tests; those of entropies "
        "resample the problems alone."
    )
    lines = [
        "# The paper's claims on these records",
        "",
        f"{counts}. Accuracies: paired tests over questions, 5% after Holm's correction (comparisons.md). Entropies: "
        "95% intervals from resampled problems, not corrected. A claim about several comparisons is supported by all "
        "of them, and contradicted by one.",
        "",
        about,
        "",
    ]
    rows = [[one.section, one.says, f"**{one.verdict}**", one.numbers] for one in claims]
    lines += markdown_table(["Section", "Claim", "Verdict", "Numbers"], rows, texts=4)
    below = note(catalogue)
    return "\n".join([*lines, *(["", below] if below else [])]) + "\n"


def write_claims(catalogue: Catalogue, comparisons: Path, measures: dict[Model, Path], out: Path) -> None:
    """Write claims.md and claims.csv into `out`. comparisons: comparisons.csv; measures: {} without `uncertainty`."""
    table = pd.read_csv(comparisons, keep_default_na=True)
    found = diagnose(catalogue, measures) if measures else {}
    claims = [*accuracies(catalogue, table), *margins(catalogue, table), *ablations(catalogue, table)]
    claims += entropies(catalogue, found) if found else []
    write_text(out / "claims.md", markdown(catalogue, claims))
    write_text(out / "claims.csv", pd.DataFrame([asdict(one) for one in claims]).to_csv(index=False))
