"""Small sets of real problems for `make demo-real`, below .real/.

    .venv/bin/python workflow/real_problems.py            # from the Hugging Face Hub
    .venv/bin/python workflow/real_problems.py FOLDER     # from a folder, on a machine without the Hub

FOLDER has problems/mawps.jsonl (problem, answer) and benchmarks/<name>/<split>.jsonl with the columns of the datasets
of the Hub that are named below. Which rows are taken depends on their text alone. Of the problems, some become worked
examples for the warm-up (problems/worked.jsonl): a program looks for their line of working (`worked_line`), as MAWPS
has none, among the problems whose numbers are below 100, which a tiny model can add. The others of these are trained
on, and a few without a line, which are too hard.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worked_line import is_small, worked_line

from egpo.common.errors import UserError
from egpo.common.files import write_text
from egpo.common.json_lines import read_objects
from egpo.common.paths import ROOT

OUT = ROOT / ".real"
PROBLEMS, WORKED = "problems/mawps.jsonl", "problems/worked.jsonl"
WORKED_ROWS = 560
HARD_SHARE = 0.25  # of the problems with a line, so many without one are trained on as well
Row = dict[str, Any]


def _same(row: Row) -> Row:
    return row


@dataclass(frozen=True)
class Set:
    """A dataset, and how much of it is taken.

    Attributes:
        file: in FOLDER, and below .real/.
        repo, name, split, revision: on the Hub.
        rows: how many are taken, None for all.
        each: column of whose values each has so many rows.
        column: the text that decides which rows are taken.
        as_here: a row of the Hub in the columns of FOLDER.
    """

    file: str
    repo: str
    split: str
    revision: str
    rows: int | None = None
    name: str | None = None
    each: str | None = None
    column: str = "problem"
    as_here: Callable[[Row], Row] = _same


SETS = (
    Set(
        PROBLEMS,
        "MU-NLPC/Calc-mawps",
        "train",
        "main",
        name="original-splits",  # the default has a third of the rows, for the sake of tests that are not made here
        as_here=lambda row: {"problem": row["question"], "answer": row["result"], "source": "mawps"},
    ),
    Set("benchmarks/gsm8k/test.jsonl", "openai/gsm8k", "test", "main", 40, name="main", column="question"),
    Set("benchmarks/math_500/test.jsonl", "HuggingFaceH4/MATH-500", "test", "main", 30),
    Set("benchmarks/aime24/test.jsonl", "math-ai/aime24", "test", "main", 10),
    Set("benchmarks/minerva_math/train.jsonl", "knoveleng/Minerva-Math", "train", "main", 20),
    Set("benchmarks/mmlu_stem/test.jsonl", "cais/mmlu", "test", "main", 2, "all", "subject", "question"),
    Set("benchmarks/mmlu_stem/dev.jsonl", "cais/mmlu", "dev", "main", 5, "all", "subject", "question"),
)

CONFIGURATIONS = {"gsm8k": "main", "mmlu_stem": "all"}  # as evalscope names them


def taken(rows: Iterable[Row], part: Set) -> list[Row]:
    """The first `part.rows` rows, in all or of each value, by the hash of their text."""
    ranked = sorted(rows, key=lambda row: hashlib.sha256(str(row[part.column]).encode()).digest())
    counts: dict[Any, int] = {}
    chosen = []
    for row in ranked:
        value = row[part.each] if part.each else None
        counts[value] = counts.get(value, 0) + 1
        if part.rows is None or counts[value] <= part.rows:
            chosen.append(row)
    return chosen


def of_folder(part: Set, folder: Path) -> list[Row]:
    return [row for _, row in read_objects(folder / part.file)]


def of_hub(part: Set) -> list[Row]:
    from datasets import load_dataset

    try:
        table = load_dataset(part.repo, part.name, split=part.split, revision=part.revision)
    except Exception as error:  # of every layer of the network below
        raise UserError(
            f"{part.repo} cannot be read from the Hugging Face Hub ({type(error).__name__}: {error}). Without a "
            "network: make demo-real REAL=<folder>; workflow/real_problems.py says what the folder holds."
        ) from error
    return [part.as_here(row) for row in table]


def divided(problems: list[Row]) -> tuple[list[Row], list[Row]]:
    """The first WORKED_ROWS small problems with a line of working, which is their `solution`, and those to train on."""
    lines = {row["problem"]: worked_line(row["problem"], str(row["answer"])) for row in problems}
    small = [row for row in problems if is_small(row["problem"], str(row["answer"])) and lines[row["problem"]]]
    worked = [{**row, "solution": lines[row["problem"]]} for row in small[:WORKED_ROWS]]
    left, hard = small[WORKED_ROWS:], [row for row in problems if lines[row["problem"]] is None]
    return worked, left + hard[: round(HARD_SHARE * len(left))]


def _write(file: Path, rows: list[Row]) -> None:
    _write_changed(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(f"{file.relative_to(ROOT)}: {len(rows)} rows")


def _write_changed(file: Path, text: str) -> None:
    if not file.exists() or file.read_text() != text:  # Snakemake goes by the time of the file
        write_text(file, text)


def _describe(folder: Path) -> None:
    """evalscope asks `datasets` for a configuration and a split, which a README.md names."""
    splits = "".join(f"  - split: {file.stem}\n    path: {file.name}\n" for file in sorted(folder.glob("*.jsonl")))
    name = CONFIGURATIONS.get(folder.name, "default")
    _write_changed(folder / "README.md", f"---\nconfigs:\n- config_name: {name}\n  data_files:\n{splits}---\n")


def main(folder: Path | None) -> None:
    for part in SETS:
        rows = taken(of_hub(part) if folder is None else of_folder(part, folder), part)
        if part.file == PROBLEMS:
            worked, rows = divided(rows)
            _write(OUT / WORKED, worked)
        _write(OUT / part.file, rows)
    for benchmark in (OUT / "benchmarks").iterdir():
        _describe(benchmark)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    except UserError as error:
        sys.exit(f"make demo-real: {error}")
