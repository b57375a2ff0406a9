"""The table of a replay: every method on the recorded responses of the main method's trainings."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from egpo.analysis.labels import label, note
from egpo.analysis.replay import LIMITS, MEASURES, Replay, replay, summary
from egpo.common.files import write_text
from egpo.common.paths import Model
from egpo.config.experiment import Catalogue
from egpo.config.methods import Method
from egpo.report.document import document, markdown_table


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"


def page(title: str, found: Replay, methods: dict[str, Method]) -> list[str]:
    """Lines of Markdown: the means over the steps, what was left out, and whether the run's own numbers came again."""
    means = summary(found.table)
    rows = [
        [methods[str(name)].label, *(_number(row[measure]) for measure in MEASURES)] for name, row in means.iterrows()
    ]
    steps = found.table["step"].nunique()
    again = (
        "the recorded weights and advantages, to the bit"
        if not found.differences
        else f"OTHER weights or advantages than the recorded ones of {found.differences} responses: the code changed"
    )
    lines = [
        f"## {title}",
        "",
        f"{found.responses} responses in {steps} steps. The run's own method gives {again}. Means over the steps.",
        "",
        *markdown_table(["method", *MEASURES.values()], rows),
    ]
    if found.left_out:
        lines += ["", *(f"- {methods[name].label} is left out: {why}" for name, why in found.left_out.items())]
    return lines


def write_replay(catalogue: Catalogue, responses: dict[Model, Path], out: Path) -> None:
    """Write replay.md and replay.csv into `out`.

    Args:
        responses: responses.parquet of each training of the main method.
    """
    lines, tables = ["# Every method on the same responses", "", LIMITS], []
    for (backbone, method, seed), file in responses.items():
        found = replay([file], catalogue.methods[method], seed, catalogue.methods)
        lines += ["", *page(f"{label(catalogue, backbone, method)}, seed {seed}", found, catalogue.methods)]
        tables.append(found.table.assign(backbone=backbone, run=method, seed=seed))
    write_text(out / "replay.md", document(lines, note(catalogue)))
    write_text(out / "replay.csv", pd.concat(tables).to_csv(index=False, float_format="%.6g"))
