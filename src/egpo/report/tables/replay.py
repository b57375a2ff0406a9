"""The table of a replay: every method on the recorded responses of the main method's trainings."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from egpo.analysis.labels import label, note
from egpo.analysis.replay import COURSES, LIMITS, MEASURES, RUN, Replay, ends, replay, summary
from egpo.common.files import write_text
from egpo.common.paths import Model
from egpo.config.experiment import Catalogue
from egpo.config.methods import Method
from egpo.report.document import document, markdown_table


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"


def _course(first: float, last: float) -> str:
    # Spaces at which no line ends keep both in one line.
    return "" if pd.isna(first) and pd.isna(last) else f"{_number(first)}\u00a0→\u00a0{_number(last)}"


def _again(found: Replay) -> str:
    """A sentence: whether the code still gives what the run recorded."""
    if RUN in found.left_out:
        return f"The run's own method cannot be replayed: {found.left_out[RUN]}"
    if found.differences:
        return (
            "The run's own method gives OTHER weights or advantages than the recorded ones of "
            f"{found.differences} responses: the code changed."
        )
    return "The run's own method gives the recorded weights and advantages, to the bit."


def page(title: str, found: Replay, methods: dict[str, Method]) -> list[str]:
    """Lines of Markdown: means, their course, what was left out, and whether the run's own numbers came again."""
    means, (first, last) = summary(found.table), ends(found.table)
    labels = [methods[str(name)].label for name in means.index]
    rows = [[label, *map(_number, row)] for label, row in zip(labels, means.to_numpy(), strict=True)]
    both = zip(labels, first[[*COURSES]].to_numpy(), last[[*COURSES]].to_numpy(), strict=True)
    courses = [[label, *map(_course, start, end)] for label, start, end in both]
    lines = [
        f"## {title}",
        "",
        f"{found.responses} responses in {found.table['step'].nunique()} steps. {_again(found)} Means over the steps:",
        "",
        *markdown_table(["method", *MEASURES.values()], rows),
        "",
        "Over the training: means of the first quarter of the steps → of the last.",
        "",
        *markdown_table(["method", *(MEASURES[one] for one in COURSES)], courses),
    ]
    left_out = {name: why for name, why in found.left_out.items() if name != RUN}
    if left_out:
        lines += ["", *(f"- {methods[name].label} is left out: {why}" for name, why in left_out.items())]
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
