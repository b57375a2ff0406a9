"""The tables of a study's page, as lines of Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from egpo.analysis.comparisons import p_text
from egpo.common.paths import BASE
from egpo.report.document import markdown_table
from egpo.study import results
from egpo.study.results import Mean

Labels = dict[str, str]  # by method: the untrained model, then in the order of the configuration
SHARES = {"mixed": "mixed", "entirely_correct": "entirely correct", "entirely_incorrect": "entirely incorrect"}


def per_method(rows: pd.DataFrame, label: Labels) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each method that has rows, in the order of the labels, with its rows."""
    for method in label:
        mine = rows[rows["method"] == method]
        if len(mine):
            yield method, mine


def _interval(one: Mean, digits: int = 1, sign: str = "") -> str:
    if math.isnan(one.value):
        return ""
    text = f"{one.value:{sign}.{digits}f}"
    return text if math.isnan(one.low) else f"{text} [{one.low:{sign}.{digits}f}, {one.high:{sign}.{digits}f}]"


def _number(value: float, digits: int = 1, more: str = "") -> str:
    """A number with its unit; nothing for nan."""
    return "" if math.isnan(value) else f"{value:.{digits}f}{more}"


def _mean(rows: pd.DataFrame, column: str) -> float:
    return float(rows[column].astype(float).mean())


def accuracies(rows: pd.DataFrame, label: Labels) -> list[str]:
    heads = ["Method", "seeds", "sampled", "sd", "greedy", "validation, greedy: start", "end", "tokens", "truncated"]
    body = []
    for method, mine in per_method(rows, label):
        sampled, greedy = (results.mean(100 * mine[name].astype(float)) for name in ("sampled", "greedy"))
        start, end = (100 * _mean(mine, name) for name in ("curve_0", "curve_10"))
        body.append(
            [
                label[method],
                str(len(mine)),
                _interval(sampled),
                _number(sampled.sd),
                _interval(greedy),
                _number(start),
                _number(end),
                _number(_mean(mine, "length")),
                _number(100 * _mean(mine, "truncated"), 1, "%"),
            ]
        )
    note = (
        "Percent of the held-out questions; in brackets 95% intervals of the mean over training seeds; sd: over seeds. "
        "Tokens and truncated: of the sampled responses."
    )
    return [*markdown_table(heads, body), "", note]


def verdicts(compared: pd.DataFrame, label: Labels) -> list[str]:
    """What is decided: the planned comparisons of sampled accuracy."""
    heads = ["Family", "Comparison", "for the paper", "seeds", "points", "95% interval", "p", "p (Holm)", "verdict"]
    body = [
        [
            row["family"],
            _names(row, label),
            row["expected"],
            *_points(row),
            p_text(row["p_value"]),
            p_text(row["p_holm"]),
            row["verdict"],
        ]
        for row in compared.to_dict("records")
    ]
    return markdown_table(heads, body, texts=3)


def intervals(compared: pd.DataFrame, label: Labels) -> list[str]:
    """Differences that decide nothing."""
    heads = ["Comparison", "seeds", "points", "95% interval"]
    return markdown_table(heads, [[_names(row, label), *_points(row)] for row in compared.to_dict("records")])


def by_difficulty(parts: dict[str, tuple[int, pd.DataFrame]], label: Labels) -> list[str]:
    """Differences on parts of the questions.

    Args:
        parts: by how often the untrained model is right: the number of questions, and their comparisons.
    """
    heads = ["Comparison", *(f"{name} right ({count} questions)" for name, (count, _) in parts.items())]
    columns = [compared.to_dict("records") for _, compared in parts.values()]
    body = [
        [_names(same[0], label), *(" ".join(_points(row)[1:]) for row in same)] for same in zip(*columns, strict=True)
    ]
    note = (
        "Points of sampled accuracy with 95% intervals, by how often the untrained model answers a question right "
        "among its sampled answers."
    )
    return [*markdown_table(heads, body), "", note]


def _names(row: dict, label: Labels) -> str:
    return f"{label[row['first']]} less {label[row['second']]}"


def _points(row: dict) -> list[str]:
    if math.isnan(row["difference"]):
        return [str(row["seeds"]), "", ""]
    return [str(row["seeds"]), f"{row['difference']:+.1f}", f"[{row['low']:+.1f}, {row['high']:+.1f}]"]


def gaps(rows: pd.DataFrame, label: Labels, main: str) -> list[str]:
    less = f"{label[main]}'s less it"
    heads = ["Method", "correct", "incorrect", "gap", less, "of ended", "within questions", "AUC", "gap in training"]
    body = []
    for method, mine in per_method(rows, label):
        body.append(
            [
                label[method],
                *(_number(_mean(mine, name), 3) for name in ("entropy_correct", "entropy_incorrect")),
                _of_untrained(mine) if method == BASE else _interval(_seeds(mine, "gap"), 3),
                "" if method == main else _interval(results.by_seed(rows, main, method, "gap"), 3, "+"),
                *(_interval(_seeds(mine, name), 3) for name in ("gap_ended", "gap_within")),
                _number(_mean(mine, "auc"), 3),
                _interval(_seeds(mine, "training_gap"), 3),
            ]
        )
    note = (
        "Mean entropy of the sampled responses to the held-out questions, nats per token, and the gap of the rollouts "
        "in the last quarter of the steps; 95% intervals over training seeds, paired by seed in the differences. Of "
        "the untrained model, which has no seeds, by bootstrap over the questions; a difference to it is to the one "
        "that a training started from. Of ended: without responses that reached the limit of tokens. Within questions: "
        "over those with right and wrong answers."
    )
    return [*markdown_table(heads, body), "", note]


def _seeds(rows: pd.DataFrame, column: str) -> Mean:
    return results.mean(rows[column].astype(float))


def _of_untrained(rows: pd.DataFrame) -> str:
    """The gap of each untrained model: there are as many as machines have taken part."""
    found = rows[["gap", "gap_low", "gap_high"]].astype(float).itertuples(index=False)
    return ", ".join(_interval(Mean(gap, low, high, math.nan, 1), 3) for gap, low, high in found)


def gradients(rows: pd.DataFrame, label: Labels) -> list[str]:
    heads = ["Method", "of NSR", *SHARES.values(), "weight of correct", "of incorrect", "groups generated for a step"]
    body = []
    for method, mine in per_method(rows[rows["method"] != BASE], label):
        cells = [_number(100 * _mean(mine, name), 0, "%") for name in ("nsr_share", *SHARES)]
        cells += [_number(_mean(mine, name), 2) for name in ("weight_correct", "weight_incorrect")]
        body.append([label[method], *cells, _number(_mean(mine, "generated"))])
    note = (
        "Means over steps and seeds. Of NSR: the share of the sum of absolute advantages that lies on "
        "entirely-incorrect groups. The next three: of the groups in the updates. Weights: also of responses without "
        "an advantage."
    )
    return [*markdown_table(heads, body), "", note]


def made(table: pd.DataFrame) -> list[str]:
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
    for at_once, mine in table[table["resumed"] == 0].groupby("at_once"):
        lines.append(
            f"- A training with its evaluation, {at_once:.0f} at once: median {mine['seconds'].median():.0f} s."
        )
    lines += [f"- `{command}`" for command in dict.fromkeys(table["command"].dropna())]
    return lines
