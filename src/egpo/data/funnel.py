"""The funnel: how many rows each step takes out, by subset, bucket and source. Nothing leaves without a reason."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

ALL = "all"
STRATUM = ["subset", "bucket", "source"]
COLUMNS = ["step", *STRATUM, "in", "dropped", "out"]
EXAMPLE_LENGTH = 90  # characters


def _counts(rows: pd.DataFrame, order: Sequence[str]) -> list[dict[str, int | str]]:
    """In, dropped and out of every step for some of the rows."""
    dropped = rows["reason"].value_counts()
    left, counts = len(rows), []
    for step in order:
        lost = int(dropped.get(step, 0))
        counts.append({"step": step, "in": left, "dropped": lost, "out": left - lost})
        left -= lost
    return counts


def funnel(rows: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """in, dropped and out of each step, over all rows and for each subset, bucket and source together.

    rows: every source row with subset, bucket, source and `reason`, the first of `order` that drops it or "".
    Raises ValueError for a reason that is not in `order`: its rows would be lost from the table.
    """
    unknown = sorted(set(rows["reason"]) - set(order) - {""})
    if unknown:
        raise ValueError(f"reasons without a step: {unknown}")
    parts = [pd.DataFrame(_counts(rows, order)).assign(**dict.fromkeys(STRATUM, ALL))]
    for names, stratum in rows.groupby(STRATUM):
        parts.append(pd.DataFrame(_counts(stratum, order)).assign(**dict(zip(STRATUM, names, strict=True))))
    table = pd.concat(parts, ignore_index=True)[COLUMNS]
    _check(table, rows, order)
    return table


def _check(table: pd.DataFrame, rows: pd.DataFrame, order: Sequence[str]) -> None:
    """The strata add up to the whole at every step, and what comes out at the end are the rows without a reason."""
    numbers = ["in", "dropped", "out"]
    whole = table[table["subset"] == ALL].set_index("step")[numbers]
    strata = table[table["subset"] != ALL].groupby("step")[numbers].sum()
    assert strata.loc[list(order)].equals(whole.loc[list(order)]), "the strata do not add up"
    assert whole["in"].iloc[0] == len(rows)
    assert whole["out"].iloc[-1] == (rows["reason"] == "").sum()


def _table(head: list[str], rows: list[list]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return [*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)]


def _left(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Rows left after each step, a column for each value of `by`; steps in their order."""
    strata = table[table["subset"] != ALL]
    order = list(dict.fromkeys(table["step"]))
    return strata.pivot_table(index="step", columns=by, values="out", aggfunc="sum").loc[order].astype(int)


def _short(text: str) -> str:
    """One line of a Markdown table."""
    line = " ".join(text.split())
    line = line if len(line) <= EXAMPLE_LENGTH else line[: EXAMPLE_LENGTH - 1] + "…"
    return line.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _examples(chosen: list[dict[str, str]]) -> list[str]:
    lines = [
        f"| {one['step']} | {one['uuid']} | {_short(one['problem'])} | {_short(one['answer'])} |" for one in chosen
    ]
    return ["| step | uuid | problem | answer |", "| --- | --- | --- | --- |", *lines]


def markdown(table: pd.DataFrame, examples: list[dict[str, str]], note: str) -> str:
    """The funnel as Markdown: all rows with what is left of each subset and bucket, then by source, then examples.

    table: of `funnel`; examples: of `egpo.data.build.examples`.
    """
    whole = table[table["subset"] == ALL].set_index("step")
    order = whole.index.tolist()
    strata, sources = _left(table, ["subset", "bucket"]), _left(table, ["source"])
    head = ["step", "in", "dropped", "out", *(", ".join(names) for names in strata.columns)]
    body = [[step, *whole.loc[step, ["in", "dropped", "out"]], *strata.loc[step]] for step in order]
    by_source = [[step, *sources.loc[step]] for step in order]
    return "\n".join(
        [
            "# Data funnel",
            "",
            *_table(head, body),
            "",
            "The last columns are what is left of each subset and bucket. A row counts at the first step that drops "
            "it; `flags.parquet` has all its reasons. `funnel.csv` has subset, bucket and source together.",
            "",
            "## What is left of each source",
            "",
            *_table(["step", *sources.columns], by_source),
            "",
            "## Examples of what was dropped",
            "",
            *_examples(examples),
            *(["", note] if note else []),
            "",
        ]
    )
