"""The page on the audit of the paper's printed numbers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from egpo.analysis.audit import Result, Verdict, audit
from egpo.common.files import write_text
from egpo.config.files import read_yaml
from egpo.report.document import document, markdown_table

VERDICTS: dict[Verdict, str] = {
    "fails": "Does not follow from the printed numbers",
    "rounding": "Differs in the last digit, as rounding before the subtraction can make it",
    "holds": "Follows from the printed numbers",
}


def markdown(results: list[Result]) -> str:
    """The page: everything with its arithmetic, what fails first."""
    counts = {verdict: sum(one.verdict == verdict for one in results) for verdict in VERDICTS}
    lines = [
        "# The paper's numbers, computed again",
        "",
        f"{len(results)} checks of arXiv 2602.22751v1 on its printed numbers alone (config/paper-numbers.yaml): "
        f"{counts['holds']} hold, {counts['rounding']} differ as rounding can explain, {counts['fails']} fail. "
        "A check that fails says that two printed things do not agree, not which of them is right.",
    ]
    for verdict, title in VERDICTS.items():
        rows = [one for one in results if one.verdict == verdict]
        head = f"{title} ({len(rows)})"
        folded = verdict == "holds"  # the longest list, and the one with nothing to see
        lines += ["", f'<details markdown="1"><summary>{head}</summary>' if folded else f"## {head}", ""]
        heads = ["where", "the paper says", "its numbers give"]
        lines += markdown_table(heads, [[one.where, one.says, one.arithmetic] for one in rows], texts=3)
        lines += ["", "</details>"] if folded else []
    return document(lines)


def write_audit(paper: Path, out: Path) -> None:
    """Write audit.md and audit.csv into `out`; paper: config/paper-numbers.yaml."""
    results = audit(read_yaml(paper))
    write_text(out / "audit.md", markdown(results))
    write_text(out / "audit.csv", pd.DataFrame([asdict(one) for one in results]).to_csv(index=False))
