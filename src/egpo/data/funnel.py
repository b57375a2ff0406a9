"""The funnel: how many rows each step drops, by subset, bucket and source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

ALL = "all"
STRATUM = ["subset", "bucket", "source"]
COLUMNS = ["step", *STRATUM, "in", "dropped", "out"]
EXAMPLE_LENGTH = 90  # characters


def _counts(rows: pd.DataFrame, order: Sequence[str], *stratum: Any) -> pd.DataFrame:
    """In, dropped and out of every step for the rows of a stratum."""
    dropped = rows["reason"].value_counts().reindex(list(order), fill_value=0).to_numpy()
    out = len(rows) - dropped.cumsum()
    table = pd.DataFrame({"step": list(order), "in": out + dropped, "dropped": dropped, "out": out})
    table[STRATUM] = stratum
    return table[COLUMNS]


def funnel(rows: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Rows in, dropped and out of each step: first of all rows, then of each combination of subset, bucket and source.

    Args:
        rows: every source row with subset, bucket, source and `reason`, the first that drops it or "".
        order: the steps, each named by its reason.

    Raises:
        ValueError: for a reason that is not in `order`: its rows would be missing from the table.
    """
    unknown = sorted(set(rows["reason"]) - set(order) - {""})
    if unknown:
        raise ValueError(f"reasons without a step: {unknown}")
    parts = [_counts(rows, order, ALL, ALL, ALL)]
    parts += [_counts(stratum, order, *names) for names, stratum in rows.groupby(STRATUM)]
    counts = pd.concat(parts, ignore_index=True)
    _check(counts, rows, order)
    return counts


def _check(counts: pd.DataFrame, rows: pd.DataFrame, order: Sequence[str]) -> None:
    """Check that the strata add up at every step, and that the rows without a reason are left at the end."""
    numbers = ["in", "dropped", "out"]
    whole = counts[counts["subset"] == ALL].set_index("step")[numbers]
    strata = counts[counts["subset"] != ALL].groupby("step")[numbers].sum()
    assert strata.loc[list(order)].equals(whole.loc[list(order)]), "the strata do not add up"
    assert whole["in"].iloc[0] == len(rows)
    assert whole["out"].iloc[-1] == (rows["reason"] == "").sum()


def table(head: Sequence[str], rows: list[list[Any]], left: int = 1) -> list[str]:
    """Lines of a Markdown table; the columns after the first `left` are aligned to the right."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * left + " ---: |" * (len(head) - left)]
    return [*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)]


def left_by(counts: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Rows left after each step, one column for each value of `by`. counts: of `funnel`."""
    strata = counts[counts["subset"] != ALL]
    order = list(dict.fromkeys(counts["step"]))
    return strata.pivot_table(index="step", columns=by, values="out", aggfunc="sum").loc[order].astype(int)


def _short(text: str) -> str:
    """A text as a cell of a Markdown table, cut to EXAMPLE_LENGTH characters."""
    line = " ".join(text.split())
    line = line if len(line) <= EXAMPLE_LENGTH else line[: EXAMPLE_LENGTH - 1] + "…"
    return line.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def markdown(counts: pd.DataFrame, examples: list[dict[str, str]], note: str) -> str:
    """The funnel as Markdown: all rows with what is left of each subset and bucket, then by source, then examples.

    Args:
        counts: of `funnel`.
        examples: of `egpo.data.build.examples`.
        note: last paragraph; none if empty.
    """
    whole = counts[counts["subset"] == ALL].set_index("step")
    order = whole.index.tolist()
    strata, sources = left_by(counts, ["subset", "bucket"]), left_by(counts, ["source"])
    head = ["step", "in", "dropped", "out", *(", ".join(names) for names in strata.columns)]
    body = [[step, *whole.loc[step, ["in", "dropped", "out"]], *strata.loc[step]] for step in order]
    by_source = [[step, *sources.loc[step]] for step in order]
    dropped = [[row["step"], row["uuid"], _short(row["problem"]), _short(row["answer"])] for row in examples]
    return "\n".join(
        [
            "# Data funnel",
            "",
            *table(head, body),
            "",
            "The last columns are what is left of each subset and bucket. A row counts at the first step that drops "
            "it; `flags.parquet` has all its reasons. `funnel.csv` has subset, bucket and source together.",
            "",
            "## What is left of each source",
            "",
            *table(["step", *sources.columns], by_source),
            "",
            "## Examples of what was dropped",
            "",
            *table(["step", "uuid", "problem", "answer"], dropped, left=4),
            *(["", note] if note else []),
            "",
        ]
    )
