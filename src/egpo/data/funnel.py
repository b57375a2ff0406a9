"""The funnel: how many rows each step takes out, by subset and bucket. Nothing leaves without a reason."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

ALL = "all"
COLUMNS = ("step", "subset", "bucket", "in", "dropped", "out")


def _counts(rows: pd.DataFrame, order: Sequence[str]) -> list[dict[str, int | str]]:
    """In, dropped and out of every step for some of the rows."""
    kept = len(order)  # the place of a row that no step drops
    place = rows["reason"].map({reason: index for index, reason in enumerate(order)} | {"": kept})
    counts = []
    for index, step in enumerate(order):
        entering, dropped, leaving = (int(part.sum()) for part in (place >= index, place == index, place > index))
        assert entering == leaving + dropped, (step, entering, leaving, dropped)
        counts.append({"step": step, "in": entering, "dropped": dropped, "out": leaving})
    return counts


def funnel(rows: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """One row per step and stratum (and per step over all), with the columns step, subset, bucket, in, dropped, out.

    rows: every source row with subset, bucket and `reason`, the first of `order` that drops it or "".
    Raises ValueError for a reason that is not in `order`: its rows would be lost from the table.
    """
    unknown = sorted(set(rows["reason"]) - set(order) - {""})
    if unknown:
        raise ValueError(f"reasons without a step: {unknown}")
    parts = [pd.DataFrame(_counts(rows, order)).assign(subset=ALL, bucket=ALL)]
    for (subset, bucket), stratum in rows.groupby(["subset", "bucket"]):
        parts.append(pd.DataFrame(_counts(stratum, order)).assign(subset=subset, bucket=bucket))
    table = pd.concat(parts, ignore_index=True)[list(COLUMNS)]
    _check(table, len(rows), order)
    return table


def _check(table: pd.DataFrame, total: int, order: Sequence[str]) -> None:
    """Each step's in is the last one's out, and the strata add up to the whole."""
    for _, stratum in table.groupby(["subset", "bucket"]):
        assert (stratum["in"].iloc[1:].to_numpy() == stratum["out"].iloc[:-1].to_numpy()).all()
    whole = table[table["subset"] == ALL].set_index("step")[["in", "dropped", "out"]]
    strata = table[table["subset"] != ALL].groupby("step")[["in", "dropped", "out"]].sum()
    assert whole["in"].iloc[0] == total
    assert strata.loc[list(order)].equals(whole.loc[list(order)]), "the strata do not add up"


def markdown(table: pd.DataFrame, note: str) -> str:
    """The funnel as a Markdown table: in, dropped and out over all, and what is left of each stratum."""
    strata = table[table["subset"] != ALL]
    names = sorted(set(zip(strata["subset"], strata["bucket"], strict=True)))
    left = {name: part.set_index("step")["out"] for name, part in strata.groupby(["subset", "bucket"])}
    head = ["step", "in", "dropped", "out", *(f"{subset}, {bucket}" for subset, bucket in names)]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for row in table[table["subset"] == ALL].to_dict("records"):
        cells = [row["step"], row["in"], row["dropped"], row["out"], *(left[name][row["step"]] for name in names)]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    below = "The last columns are what is left of each subset and bucket. A row counts at the first step that drops it."
    return "\n".join(["# Data funnel", "", *lines, "", below, *(["", note] if note else [])]) + "\n"
