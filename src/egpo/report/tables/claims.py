"""The page on the paper's claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from egpo.analysis.claims import CONTRADICTED, CONTROLS, OPEN, SUPPORTED, Claim, claims
from egpo.analysis.frozen import deviations
from egpo.analysis.labels import note
from egpo.common.files import write_text
from egpo.common.paths import Model
from egpo.config.experiment import Catalogue
from egpo.config.files import read_yaml
from egpo.config.frozen import Frozen
from egpo.config.matrix import trained_models
from egpo.config.methods import Method
from egpo.config.section import parse
from egpo.report.document import document, markdown_table
from egpo.uncertainty.diagnosis import diagnose


def markdown(catalogue: Catalogue, found: list[Claim], plan: dict[str, Path]) -> str:
    seeds = len(catalogue.experiment.training_seeds)
    counts = ", ".join(
        f"{sum(one.verdict == kind for one in found if one.section != CONTROLS)} {kind}"
        for kind in (SUPPORTED, CONTRADICTED, OPEN)
    )
    about = (
        "One training per method: every verdict is about these trained models, none is about the methods. Another "
        "training seed could change it."
        if seeds == 1
        else f"{seeds} training seeds per method are the outer unit of the accuracies' tests; those of entropies "
        "resample the problems alone."
    )
    lines = [
        "# The paper's claims on these records",
        "",
        f"{counts}. Accuracies: paired tests over questions, 5% after Holm's correction (comparisons.md). Entropies: "
        "95% intervals from resampled problems, not corrected. A claim about several comparisons is supported by all "
        "of them, and contradicted by one. Rows of controls are no claims of the paper.",
        "",
        about,
        "",
    ]
    lines += [*_missing_controls(catalogue), *_plan(catalogue, plan)]
    rows = [[one.section, one.says, f"**{one.verdict}**", one.numbers] for one in found]
    lines += markdown_table(["Section", "Claim", "Verdict", "Numbers"], rows, texts=4)
    return document(lines, note(catalogue))


def _missing_controls(catalogue: Catalogue) -> list[str]:
    """Which controls of the rewards no training has, by backbone."""
    trained: dict[str, list[Method]] = {}
    for backbone, method, _ in trained_models(catalogue.experiment):
        trained.setdefault(backbone, []).append(catalogue.methods[method])
    kinds: dict[str, Callable[[Method], bool]] = {
        "random rewards (`random_reward`)": lambda method: method.calibration.control == "random_reward",
        "shuffled answers (`shuffled_answers`)": lambda method: method.shuffled_answers,
    }
    lines = []
    for kind, is_kind in kinds.items():
        without = [
            catalogue.backbones[name].label for name, methods in trained.items() if not any(map(is_kind, methods))
        ]
        if without:
            lines.append(f"No control with {kind} was trained on {', '.join(without)}.")
    if not lines:
        return []
    lines.append(
        "On Qwen2.5-Math-7B random rewards alone are reported to give 21.4 points on MATH-500 (arXiv 2506.10947): "
        "without that control, a gain over the base says little about the rewards on such a backbone."
    )
    return [" ".join(lines), ""]


def _plan(catalogue: Catalogue, files: dict[str, Path]) -> list[str]:
    """What the frozen plan says of this run."""
    if not files:
        return ["No plan was frozen before this run (`egpo freeze`).", ""]
    ((name, file),) = files.items()
    plan = parse(Frozen, read_yaml(file), name)
    found = deviations(plan, catalogue)
    run = "as planned." if not found else "otherwise in:"
    says = f"Plan: `{name}`, frozen on {plan.frozen}, hash {plan.hash}. Run {run}"
    return [says, "", *(f"- {text}" for text in found), *([""] if found else [])]


def write_claims(
    catalogue: Catalogue,
    comparisons: Path,
    measures: dict[Model, Path],
    paper: Path,
    plan: dict[str, Path],
    out: Path,
) -> None:
    """Write claims.md and claims.csv into `out`.

    Args:
        comparisons: comparisons.csv.
        measures: `measures.parquet` of each model; none without the section `uncertainty`.
        paper: config/paper-numbers.yaml.
        plan: the frozen plan by its name in the configuration; empty without one.
    """
    diagnoses = diagnose(catalogue, measures) if measures else {}
    found = claims(catalogue, pd.read_csv(comparisons), diagnoses, read_yaml(paper))
    write_text(out / "claims.md", markdown(catalogue, found, plan))
    write_text(out / "claims.csv", pd.DataFrame([asdict(one) for one in found]).to_csv(index=False))
