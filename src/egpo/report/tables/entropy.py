"""Table 3 of the paper, for every model: how well entropies predict that a response is incorrect."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from egpo.analysis.labels import label, note
from egpo.common.files import write_text
from egpo.common.paths import BASE, Model
from egpo.config.experiment import Catalogue
from egpo.config.files import read_yaml
from egpo.report.document import booktabs, document, escape, markdown_table, paragraphs
from egpo.uncertainty.diagnosis import Diagnosis, diagnose
from egpo.uncertainty.measures import BINS, RESAMPLES, Estimate

TITLE = "Table 3: entropy as a predictor of incorrect responses"
NAMES = {"thinking": "Thinking entropy", "answer": "Answer entropy", "response": "Response entropy"}


def _columns(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def row(one: Diagnosis, printed: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The numbers of one model: counts, AUC, gap and calibration error of each part with 95% intervals, the paper's."""
    paper = printed.get(one.backbone, {}) if one.method == BASE else {}
    found: dict[str, Any] = {
        "backbone": one.backbone,
        "method": one.method,
        "problems": one.rollouts["problem"].nunique(),
        "rollouts": len(one.rollouts),
        "used": len(one.used),
        "correct": one.rollouts["correct"].mean(),
        **{f"without: {reason}": count for reason, count in one.left_out().items()},
    }
    for part in one.parts:
        found |= _columns(f"auc_{part}", one.auc(part))
        found |= _columns(f"gap_{part}", one.gap(part))
        found |= _columns(f"ece_{part}", one.calibration_error(part))
        found[f"auc_{part}_paper"] = paper.get(f"{part}_entropy", math.nan)
    if one.thinks:
        found |= _columns("answer_over_thinking", one.answer_over_thinking())
    return found


def _text(row: dict[Any, Any], name: str, form: str = ".3f") -> str:
    """'0.745 [0.701, 0.780]'; empty where the value does not exist."""
    value = row.get(name, math.nan)
    if math.isnan(value):
        return ""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{value:{form}}" if math.isnan(low) else f"{value:{form}} [{low:{form}}, {high:{form}}]"


def notes(catalogue: Catalogue, table: pd.DataFrame) -> list[str]:
    experiment = catalogue.experiment
    evaluation, chosen = experiment.evaluation, experiment.uncertainty
    assert chosen is not None
    without_thoughts = any(not catalogue.backbones[name].thinks for name in table["backbone"])
    lost = [
        f"{label(catalogue, row['backbone'], row['method'])}: "
        + ", ".join(f"{int(row[name])} with {name.removeprefix('without: ')}" for name in row.index if _lost(row, name))
        for _, row in table.iterrows()
        if any(_lost(row, name) for name in row.index)
    ]
    return [
        f"{experiment.data.heldout_rows} problems that no training saw, {chosen.rollouts_per_prompt} responses to each "
        f"(temperature {evaluation.temperature}, top-p {evaluation.top_p}, top-k {evaluation.top_k}), correct by the "
        "training's verifier, Eq. (1). Entropy: mean of -log p of the tokens, Eq. (5), in nats, of the model itself at "
        "temperature 1. Thinking: before the token that ends the thoughts; answer: after it, without the last token.",
        f"AUC: probability that an incorrect response has the higher entropy. In brackets 95% intervals, from "
        f"{RESAMPLES} resamples of the problems.",
        "Left out of every AUC of their model, as a part of them does not exist: " + "; ".join(lost) + "."
        if lost
        else "No response is left out.",
        *(["Empty: a model without thoughts has no such parts."] if without_thoughts else []),
        *filter(None, [note(catalogue)]),
    ]


def _lost(row: pd.Series, name: Any) -> bool:
    return str(name).startswith("without: ") and row[name] > 0


def _paper(catalogue: Catalogue, table: pd.DataFrame) -> list[str]:
    """The paper's numbers for the models that it has, and in brackets what ours are above them."""
    rows = []
    for one in table.to_dict("records"):
        names = [f"auc_{part}" for part in ("thinking", "answer")]
        if all(name in one and not math.isnan(one[f"{name}_paper"]) for name in names):
            texts = [f"{one[f'{name}_paper']:.3f} ({one[name] - one[f'{name}_paper']:+.3f})" for name in names]
            rows.append([label(catalogue, one["backbone"], one["method"]), *texts])
    if not rows:
        return ["The paper prints no number for these models."]
    heads = ["Model", NAMES["thinking"], NAMES["answer"]]
    return ["In brackets what ours is above it.", "", *markdown_table(heads, rows)]


def markdown(catalogue: Catalogue, table: pd.DataFrame) -> str:
    rows = table.to_dict("records")
    names = [label(catalogue, one["backbone"], one["method"]) for one in rows]
    aucs = [
        [name, *(_text(one, f"auc_{part}") for part in NAMES), _text(one, "answer_over_thinking", "+.3f")]
        for name, one in zip(names, rows, strict=True)
    ]
    more = [
        [
            name,
            f"{100 * one['correct']:.1f}",
            f"{one['used']} of {one['rollouts']}",
            _text(one, "gap_response", "+.3f"),
            _text(one, "ece_response"),
        ]
        for name, one in zip(names, rows, strict=True)
    ]
    lines = [
        f"# {TITLE}",
        "",
        *markdown_table(["Model", *NAMES.values(), "Answer less thinking"], aucs),
        *paragraphs(notes(catalogue, table)),
        "",
        "## Gap and calibration of the response entropy",
        "",
        "Gap: mean entropy of incorrect less that of correct responses, in nats per token (Figure 3). Calibration "
        f"error: that of the confidence exp(-H), expected over {BINS} bins of equal width; not in the paper.",
        "",
        *markdown_table(["Model", "correct, %", "in the AUCs", "Gap", "Calibration error"], more),
        "",
        "## As printed in the paper",
        "",
        *_paper(catalogue, table),
    ]
    return document(lines)


def latex(catalogue: Catalogue, table: pd.DataFrame) -> str:
    """The table of AUCs in LaTeX."""
    lines = [r"\midrule"]
    for one in table.to_dict("records"):
        values = [one.get(f"auc_{part}", math.nan) for part in NAMES]
        texts = ["--" if math.isnan(value) else f"{value:.3f}" for value in values]
        lines.append(" & ".join([escape(label(catalogue, one["backbone"], one["method"])), *texts]) + r" \\")
    caption = "AUC for predicting that a response is incorrect."
    return booktabs("table3", caption, list(NAMES.values()), lines, notes(catalogue, table))


def write_entropy_table(catalogue: Catalogue, measures: dict[Model, Path], paper: Path, out: Path) -> None:
    """Write table3.md, table3.csv and table3.tex into `out`.

    Args:
        measures: `measures.parquet` of each model.
        paper: config/paper-numbers.yaml.

    Raises:
        UserError: a file does not hold what the experiment asks for.
    """
    printed = read_yaml(paper)["table3"]
    table = pd.DataFrame([row(one, printed) for one in diagnose(catalogue, measures).values()])
    write_text(out / "table3.md", markdown(catalogue, table))
    write_text(out / "table3.tex", latex(catalogue, table))
    write_text(out / "table3.csv", table.assign(note=note(catalogue)).to_csv(index=False, float_format="%.6g"))
