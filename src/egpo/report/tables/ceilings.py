"""The page on ceilings: what the benchmarks' own reference answers score."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from egpo.analysis.ceilings import ceilings, taken_for_another, unaccepted
from egpo.analysis.labels import note
from egpo.common.answers import extract_boxed
from egpo.common.files import write_text
from egpo.config.experiment import Catalogue
from egpo.report.document import document, markdown_table

EXAMPLES, EXAMPLE_LENGTH = 20, 60


def _share(count: int, questions: int) -> str:
    return f"{count} ({100 * count / questions:.2f})"


def _main(catalogue: Catalogue, table: pd.DataFrame) -> list[str]:
    rows = [
        [
            catalogue.benchmarks[row["benchmark"]].label,
            str(row["questions"]),
            *(_share(row[name], row["questions"]) for name in ("evalscope", "verifier")),
            str(row["excluded"]),
            *(_share(row[name], row["questions"]) for name in ("evalscope_shuffled", "verifier_shuffled")),
        ]
        for row in table.to_dict("records")
    ]
    heads = ["Benchmark", "Questions", "evalscope", "verifier", "excluded", "evalscope, shuffled", "verifier, shuffled"]
    return markdown_table(heads, rows)


def _reference(target: str) -> str:
    text = " ".join((extract_boxed(target) or target).split())
    return (
        (text if len(text) <= EXAMPLE_LENGTH else f"{text[:EXAMPLE_LENGTH]}…").replace("\\", "\\\\").replace("|", "\\|")
    )


def _listed(catalogue: Catalogue, rows: pd.DataFrame) -> list[str]:
    """The questions one by one, at most EXAMPLES of each benchmark."""
    shown = rows.groupby("benchmark", sort=False).head(EXAMPLES)
    cells = [
        [
            catalogue.benchmarks[row["benchmark"]].label,
            str(row["question"]),
            "right" if row["correct"] else row["status"] if row["status"] != "scored" else "wrong",
            "no verdict" if pd.isna(row["verified"]) else "right" if row["verified"] else "wrong",
            _reference(row["target"]),
        ]
        for row in shown.to_dict("records")
    ]
    more = len(rows) - len(shown)
    heads = ["Benchmark", "Question", "evalscope", "verifier", "Reference"]
    return [*markdown_table(heads, cells, texts=5), *([f"\n{more} more."] if more else [])]


def markdown(catalogue: Catalogue, references: Path) -> str:
    refused, mistaken = unaccepted(references), taken_for_another(references)
    lines = [
        "# What accuracies can be at most, and by chance",
        "",
        "The reference answers, sent through evalscope as if a model had said them: each question with its own (the "
        "ceiling: nobody can score above it), and with that of another question (shuffled: the floor). Counts, in "
        "brackets percent. excluded: evalscope cannot score them. verifier: the verifier of the training, on the same "
        "texts; for multiple choice, by the letter. Benchmarks that a judge scores are left out.",
        "",
        *_main(catalogue, ceilings(catalogue, references)),
    ]
    if not refused.empty:
        lines += ["", "## References that are not accepted", "", *_listed(catalogue, refused)]
    if not mistaken.empty:
        lines += ["", "## Another question's reference that evalscope alone accepts", "", *_listed(catalogue, mistaken)]
    return document(lines, note(catalogue))


def write_ceilings(catalogue: Catalogue, references: Path, out: Path) -> None:
    """Write ceilings.md and ceilings.csv into `out`."""
    write_text(out / "ceilings.md", markdown(catalogue, references))
    write_text(out / "ceilings.csv", ceilings(catalogue, references).to_csv(index=False))
