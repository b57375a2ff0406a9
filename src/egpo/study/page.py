"""The page of a study, from its CSVs alone: what stands between two marks, and the pictures."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from egpo.analysis.frozen import deviations
from egpo.common.errors import UserError
from egpo.common.files import write_text
from egpo.common.paths import BASE
from egpo.config.experiment import Catalogue
from egpo.config.frozen import Frozen, Planned
from egpo.study import figures, results, steps, tables
from egpo.study.blocks import failed, of_blocks

MARKS = "<!-- begin: made by `make study-page` -->", "<!-- end -->"


@dataclass(frozen=True)
class Study:
    """What a page is made of.

    Attributes:
        table: the rows of the CSV.
        steps: the rows of the one beside it.
        plan: what is compared; with no date, a draft of it.
    """

    catalogue: Catalogue
    table: pd.DataFrame
    steps: pd.DataFrame
    plan: Frozen

    @property
    def trials(self) -> int:
        return len(self.catalogue.experiment.evaluation.seeds)

    @property
    def labels(self) -> tables.Labels:
        methods = self.catalogue.methods
        names = dict.fromkeys([*self.catalogue.experiment.methods, *methods])
        return {BASE: "untrained", **{name: methods[name].label for name in names}}

    def planned(self, backbone: str) -> list[Planned]:
        return [one for one in self.plan.comparisons if one.backbone == backbone]

    def compare(self, backbone: str, table: pd.DataFrame | None = None) -> pd.DataFrame:
        """The planned comparisons of sampled accuracy; verdicts only when all seeds are there.

        Args:
            table: rows to compare instead of the study's.
        """
        table = self.table if table is None else table
        compared = results.compare(table, self.planned(backbone), "sampled", self.trials)
        return results.withheld(compared, table, len(self.catalogue.experiment.training_seeds))

    def on_parts(self, backbone: str, parts: dict[str, np.ndarray]) -> dict[str, tuple[int, pd.DataFrame]]:
        """The planned comparisons on some questions alone: how many there are, and what is found."""
        planned = self.planned(backbone)
        return {
            name: (int(mask.sum()), results.compare(self.table, planned, "sampled", self.trials, mask))
            for name, mask in parts.items()
        }


def write(study: Study, page: Path, out: Path) -> None:
    """Write the figures into `out`, and the tables between the marks of `page`.

    Raises:
        UserError: the page has no marks, or has tables and the study no rows.
    """
    text = page.read_text()
    begin, end = MARKS
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise UserError(
            f"{page}: needs the lines '{begin}' and '{end}' once each, in this order, for the tables to stand between."
        )
    if not len(study.table) and "### " in text[text.index(begin) : text.index(end)]:
        raise UserError(f"{page}: has tables of a study, and there are no rows to replace them by: is --out right?")
    lines = list(sections(study, draw(study, out), Path(os.path.relpath(out, page.parent))))
    made = re.sub(
        f"{re.escape(begin)}.*{re.escape(end)}", lambda _: "\n".join([begin, *lines, end]), text, flags=re.DOTALL
    )
    write_text(page, made)


def draw(study: Study, out: Path) -> set[str]:
    """Draw every figure for which there are rows; returns their names."""
    drawn = set()
    for backbone in dict.fromkeys(study.table["backbone"]):
        rows = results.finished(study.table, backbone)
        for name, figure in (
            ("differences", figures.differences(study.compare(backbone), study.labels)),
            ("curves", figures.curves(rows, study.labels)),
            ("gaps", figures.gaps(rows, study.labels)),
            ("steps", figures.by_step(steps.of_rows(study.steps, rows), study.labels)),
        ):
            if figure is not None:
                figures.save(figure, out, f"{backbone}-{name}")
                drawn.add(f"{backbone}-{name}")
    return drawn


def sections(study: Study, drawn: set[str], pictures: Path) -> Iterator[str]:
    """Lines of Markdown: the plan, then each backbone of the rows."""
    yield from _plan(study)
    if not len(study.table):
        yield from ["", "There are no rows yet."]
        return
    label = study.labels
    for backbone in dict.fromkeys(study.table["backbone"]):

        def picture(name: str, backbone: str = backbone) -> list[str]:
            name = f"{backbone}-{name}"
            return ["", f"![{name}]({pictures / f'{name}.png'})"] if name in drawn else []

        rows = results.finished(study.table, backbone)
        yield from ["", f"### Rows of {backbone}", "", *_counted(study, backbone)]
        if not len(rows):
            continue
        yield from ["", "### Accuracy", "", *tables.accuracies(rows, label)]
        yield from ["", "### Differences of sampled accuracy", "", *tables.verdicts(study.compare(backbone), label)]
        yield from picture("differences")
        yield from ["", *_sensitivity(study, backbone)]
        yield from ["", "Exploratory, not planned:", "", *_exploratory(study, backbone)]
        if parts := results.by_difficulty(rows, study.trials):
            heading = "### Where the differences lie, exploratory"
            yield from ["", heading, "", *tables.by_difficulty(study.on_parts(backbone, parts), label)]
        greedy = results.compare(study.table, study.planned(backbone), "greedy", study.trials)
        heading = "### Differences of greedy accuracy, which decide nothing"
        yield from ["", heading, "", *tables.intervals(greedy, label)]
        yield from ["", "### Learning curves", *picture("curves")]
        yield from ["", "### Entropy gap", "", *tables.gaps(rows, label, study.catalogue.experiment.main_method)]
        yield from picture("gaps")
        yield from ["", "### What the gradients were of", "", *tables.gradients(rows, label), *picture("steps")]
        yield from ["", "### How it was made", "", *tables.made(study.table[study.table["backbone"] == backbone])]


def _plan(study: Study) -> Iterator[str]:
    """Which plan it is, and what was done otherwise."""
    plan, catalogue = study.plan, study.catalogue
    if not plan.frozen:
        yield "No plan is frozen yet."
        return
    trainings = len(catalogue.experiment.backbones) * len(catalogue.experiment.methods) * len(plan.training_seeds)
    found = deviations(plan, catalogue)
    yield (
        f"Plan: `{catalogue.experiment.claims}`, frozen on {plan.frozen}, hash {plan.hash}: {trainings} trainings. "
        f"{'Done otherwise:' if found else 'The configuration is as planned.'}"
    )
    yield from (f"- {one}" for one in found)


def _counted(study: Study, backbone: str) -> list[str]:
    """How many trainings there are, what has failed, and the regime that they start in."""
    everything = study.table[(study.table["backbone"] == backbone) & (study.table["method"] != BASE)]
    table, methods = of_blocks(everything), study.catalogue.methods
    ok = table["status"] == "ok"
    lost = [(method, seed) for _, method, seed in failed(everything)]
    lines = [*_seeds(study, table[ok], lost)]
    lines.append(f"Attempts that failed: {(~ok).sum()}. Trainings that failed in both: {len(lost)}.")
    lines += [
        f"- {methods[row['method']].label}, seed {row['seed']}, attempt {row['attempt']}: {row['reason']}"
        for row in table[~ok].to_dict("records")
    ]
    if again := len(everything) - len(table):
        lines.append(
            f"Not used: {again} rows of seeds that were stopped half-way, and trained again as a whole from other "
            "starting weights, with other code or on another processor."
        )
    # Dynamic sampling leaves uniform groups out of the record.
    whole = [name for name in set(table["method"]) if not methods[name].dynamic_sampling]
    first = table[ok & table["method"].isin(whole)]
    if len(first):
        values = (100 * first[["first_pass_rate", "first_correct", "first_incorrect"]].astype(float).mean()).tolist()
        lines.append(
            "In the first step, before any update, {:.0f}% of the rollouts were right, {:.0f}% of the groups entirely "
            "correct, and {:.0f}% entirely incorrect.".format(*values)
        )
    return lines


def _seeds(study: Study, done: pd.DataFrame, lost: list[tuple[str, int]]) -> Iterator[str]:
    """How much of the plan is done, and whether a seed is there in part."""
    wanted = study.catalogue.experiment.methods
    has: dict[int, set[str]] = {}
    for method, seed in [*zip(done["method"], done["seed"], strict=True), *lost]:
        has.setdefault(seed, set()).add(method)
    parts = {seed: len(found & set(wanted)) for seed, found in has.items() if not found >= set(wanted)}
    planned = len(wanted) * len(study.plan.training_seeds)
    yield f"{len(done)} of {planned} trainings, {len(has) - len(parts)} whole seeds."
    for seed, count in parts.items():
        yield f"Seed {seed} has {count} of {len(wanted)} methods; the comparisons include it where it has both."


def _sensitivity(study: Study, backbone: str) -> Iterator[str]:
    """The planned comparisons once more, where trainings have failed twice."""
    if not failed(study.table[study.table["backbone"] == backbone]):
        yield "No training has failed twice, so there is no sensitivity analysis."
        return
    yield from ["Sensitivity: a training that failed twice counts as the untrained model.", ""]
    yield from tables.verdicts(study.compare(backbone, results.with_untrained(study.table)), study.labels)


def _exploratory(study: Study, backbone: str) -> list[str]:
    wanted = results.exploratory(study.catalogue.experiment.methods, study.planned(backbone), backbone)
    return tables.intervals(results.compare(study.table, wanted, "sampled", study.trials), study.labels)
