"""Tables and figures of a study, from its CSV alone: what stands between two marks of its page, and the pictures."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from egpo.analysis.comparisons import p_text
from egpo.analysis.frozen import deviations
from egpo.common.errors import UserError
from egpo.common.files import write_text
from egpo.common.paths import BASE
from egpo.config.experiment import Catalogue
from egpo.config.frozen import Frozen, Planned
from egpo.report.document import markdown_table
from egpo.study import figures, results
from egpo.study.blocks import of_blocks
from egpo.study.results import Mean

MARKS = "<!-- begin: made by `make study-page` -->", "<!-- end -->"
SHARES = {"mixed": "mixed", "entirely_correct": "entirely correct", "entirely_incorrect": "entirely incorrect"}


def write(catalogue: Catalogue, table: pd.DataFrame, plan: Frozen, page: Path, out: Path) -> None:
    """Write the figures into `out`, and the tables between the marks of `page`.

    Args:
        table: the rows of the CSV.
        plan: what is compared; with no date, a draft of it.

    Raises:
        UserError: the page has no marks.
    """
    text = page.read_text()
    begin, end = MARKS
    if text.count(begin) != 1 or text.count(end) != 1:
        raise UserError(f"{page}: needs the lines '{begin}' and '{end}' once each, for the tables to stand between.")
    trials = len(catalogue.experiment.evaluation.seeds)
    lines = list(sections(catalogue, table, plan, trials, out.relative_to(page.parent)))
    made = re.sub(
        f"{re.escape(begin)}.*{re.escape(end)}", lambda _: "\n".join([begin, *lines, end]), text, flags=re.DOTALL
    )
    draw(catalogue, table, plan.comparisons, trials, out)
    write_text(page, made)


def draw(catalogue: Catalogue, table: pd.DataFrame, planned: tuple[Planned, ...], trials: int, out: Path) -> None:
    """Every figure for which there are rows."""
    labels = _labels(catalogue)
    for backbone in dict.fromkeys(table["backbone"]):
        rows = results.finished(table, backbone)
        if len(rows):
            compared = results.compare(table, [one for one in planned if one.backbone == backbone], "sampled", trials)
            figures.differences(compared, labels, out, f"{backbone}-differences")
            figures.curves(rows, labels, out, f"{backbone}-curves")
            figures.gaps(rows, labels, out, f"{backbone}-gaps")


def sections(catalogue: Catalogue, table: pd.DataFrame, plan: Frozen, trials: int, pictures: Path) -> Iterator[str]:
    """Lines of Markdown: the plan, then each backbone of the rows."""
    yield from _planned(catalogue, plan)
    if not len(table):
        yield from ["", "There are no rows yet."]
        return
    label = _labels(catalogue)
    for backbone in dict.fromkeys(table["backbone"]):
        rows = results.finished(table, backbone)
        yield from ["", f"### Rows of {backbone}", "", *_counted(table[table["backbone"] == backbone], catalogue)]
        if not len(rows):
            continue
        yield from ["", "### Accuracy", "", *_accuracies(rows, label)]
        mine = [one for one in plan.comparisons if one.backbone == backbone]
        for outcome in results.OUTCOMES:
            compared = results.compare(table, mine, outcome, trials)
            yield from ["", f"### Differences, {outcome}", "", *_differences(compared, label)]
            if outcome == "sampled":
                yield from ["", f"![Differences]({pictures / f'{backbone}-differences.png'})"]
        yield from ["", "### Learning curves", "", f"![Curves]({pictures / f'{backbone}-curves.png'})"]
        yield from ["", "### Entropy gap", "", *_gaps(rows, label, catalogue.experiment.main_method)]
        yield from ["", f"![Gaps]({pictures / f'{backbone}-gaps.png'})"]
        yield from ["", "### What the gradients were of", "", *_gradients(rows, label)]
        yield from ["", "### How it was made", "", *_made(table[table["backbone"] == backbone])]


def _planned(catalogue: Catalogue, plan: Frozen) -> Iterator[str]:
    """Which plan it is, and what was done otherwise."""
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


def _labels(catalogue: Catalogue) -> dict[str, str]:
    return {BASE: "untrained", **{name: one.label for name, one in catalogue.methods.items()}}


def _counted(table: pd.DataFrame, catalogue: Catalogue) -> list[str]:
    """How many trainings there are, what has failed, and the regime that they start in."""
    everything, table = table[table["method"] != BASE], of_blocks(table[table["method"] != BASE])
    ok = table["status"] == "ok"
    lines = [f"{ok.sum()} trainings; {(~ok).sum()} attempts failed."]
    lines += [
        f"- {catalogue.methods[row['method']].label}, seed {row['seed']}, attempt {row['attempt']}: {row['reason']}"
        for row in table[~ok].to_dict("records")
    ]
    if again := len(everything) - len(table):
        lines.append(
            f"Not used: {again} rows of seeds that were stopped half-way, and trained again as a whole from other "
            "starting weights or with other code."
        )
    # Dynamic sampling leaves uniform groups out of the record.
    whole = [name for name in set(table["method"]) if not catalogue.methods[name].dynamic_sampling]
    first = table[ok & table["method"].isin(whole)]
    if len(first):
        values = (100 * first[["first_pass_rate", "first_correct", "first_incorrect"]].astype(float).mean()).tolist()
        lines.append(
            "In the first step, before any update, {:.0f}% of the rollouts were right, {:.0f}% of the groups entirely "
            "correct, and {:.0f}% entirely incorrect.".format(*values)
        )
    return lines


def _per_method(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for method in sorted(dict.fromkeys(rows["method"]), key=lambda name: name != BASE):  # the untrained model first
        yield method, rows[rows["method"] == method]


def _interval(one: Mean, digits: int = 1) -> str:
    if math.isnan(one.value):
        return ""
    text = f"{one.value:.{digits}f}"
    return text if math.isnan(one.low) else f"{text} [{one.low:.{digits}f}, {one.high:.{digits}f}]"


def _number(value: float, digits: int = 1, more: str = "") -> str:
    """A number with its unit; nothing for nan."""
    return "" if math.isnan(value) else f"{value:.{digits}f}{more}"


def _accuracies(rows: pd.DataFrame, label: dict[str, str]) -> list[str]:
    heads = ["Method", "seeds", "sampled", "sd", "greedy", "validation, greedy: start", "end", "tokens"]
    body = []
    for method, mine in _per_method(rows):
        sampled, greedy = (results.mean(100 * mine[name].astype(float)) for name in ("sampled", "greedy"))
        start, end = (100 * mine[name].astype(float).mean() for name in ("curve_0", "curve_10"))
        body.append(
            [
                label[method],
                str(len(mine)),
                _interval(sampled),
                _number(sampled.sd),
                _interval(greedy),
                _number(start),
                _number(end),
                f"{mine['length'].astype(float).mean():.1f}",
            ]
        )
    note = (
        "Percent of the held-out questions; in brackets 95% intervals of the mean over training seeds; sd: over seeds."
    )
    return [*markdown_table(heads, body), "", note]


def _differences(compared: pd.DataFrame, label: dict[str, str]) -> list[str]:
    heads = ["Family", "Comparison", "for the paper", "seeds", "points", "95% interval", "p", "p (Holm)", "verdict"]
    body = []
    for row in compared.to_dict("records"):
        known = not math.isnan(row["difference"])
        body.append(
            [
                row["family"],
                f"{label[row['first']]} less {label[row['second']]}",
                row["expected"],
                str(row["seeds"]),
                f"{row['difference']:+.1f}" if known else "",
                f"[{row['low']:+.1f}, {row['high']:+.1f}]" if known else "",
                p_text(row["p_value"]),
                p_text(row["p_holm"]),
                row["verdict"],
            ]
        )
    return markdown_table(heads, body, texts=3)


def _gaps(rows: pd.DataFrame, label: dict[str, str], main: str) -> list[str]:
    heads = ["Method", "correct", "incorrect", "gap", f"gap less {label[main]}'s", "AUC", "gap in training"]
    body = []
    for method, mine in _per_method(rows):
        body.append(
            [
                label[method],
                *(f"{mine[name].astype(float).mean():.3f}" for name in ("entropy_correct", "entropy_incorrect")),
                _interval(results.mean(mine["gap"].astype(float)), 3),
                "" if method in (main, BASE) else _interval(results.by_seed(rows, method, main, "gap"), 3),
                f"{mine['auc'].astype(float).mean():.3f}",
                _interval(results.mean(mine["training_gap"].astype(float)), 3),
            ]
        )
    note = (
        "Mean entropy of the sampled responses to the held-out questions, nats per token, and the gap of the rollouts "
        "in the last quarter of the steps; 95% intervals over training seeds, paired by seed in the differences."
    )
    return [*markdown_table(heads, body), "", note]


def _gradients(rows: pd.DataFrame, label: dict[str, str]) -> list[str]:
    heads = ["Method", "of NSR", *SHARES.values(), "weight of correct", "of incorrect", "groups generated for a step"]
    body = []
    for method, mine in _per_method(rows[rows["method"] != BASE]):
        shares = [results.mean(100 * mine[name].astype(float)).value for name in ("nsr_share", *SHARES)]
        weights = [mine[name].astype(float).mean() for name in ("weight_correct", "weight_incorrect")]
        cells = [_number(value, 0, "%") for value in shares] + [_number(value, 2) for value in weights]
        body.append([label[method], *cells, f"{mine['generated'].astype(float).mean():.1f}"])
    note = (
        "Means over steps and seeds. Of NSR: the share of the sum of absolute advantages that lies on "
        "entirely-incorrect groups. The next three: of the groups in the updates."
    )
    return [*markdown_table(heads, body), "", note]


def _made(table: pd.DataFrame) -> list[str]:
    """Codes, models, data and cost of the rows."""
    lines = []
    for name, title in (
        ("code", "Code"),
        ("commit", "Commit"),
        ("model", "Starting weights"),
        ("data", "Rows and questions"),
        ("processor", "Processor"),
    ):
        counts = table[name].dropna().value_counts()
        lines.append(f"- {title}: " + ", ".join(f"`{value}` ({count})" for value, count in counts.items()))
    alone = table.loc[(table["at_once"] == 1) & (table["resumed"] == 0), "seconds"].astype(float)
    if len(alone):
        lines.append(f"- A training with its evaluation, one at a time: median {alone.median():.0f} s.")
    lines += [f"- `{command}`" for command in dict.fromkeys(table["command"].dropna())]
    return lines
