"""Small sets of real problems for `make demo-real`, below .real/.

    .venv/bin/python workflow/real_problems.py            # from the Hugging Face Hub
    .venv/bin/python workflow/real_problems.py FOLDER     # from a folder, on a machine without the Hub

FOLDER has problems/mawps.jsonl (problem, answer) and benchmarks/<name>/<split>.jsonl with the columns of the datasets
of the Hub that are named below. Which rows are taken depends on their text alone.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egpo.common.errors import UserError
from egpo.common.files import write_text
from egpo.common.json_lines import read_objects
from egpo.common.paths import ROOT

OUT = ROOT / ".real"
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
        "problems/mawps.jsonl",
        "MU-NLPC/Calc-mawps",
        "train",
        "main",
        as_here=lambda row: {"problem": row["question"], "answer": row["result"], "source": "mawps"},
    ),
    Set("benchmarks/gsm8k/train.jsonl", "openai/gsm8k", "train", "main", name="main", column="question"),
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


def _write(file: Path, text: str) -> None:
    if not file.exists() or file.read_text() != text:  # Snakemake goes by the time of the file
        write_text(file, text)


def _describe(folder: Path) -> None:
    """evalscope asks `datasets` for a configuration and a split, which a README.md names."""
    splits = "".join(f"  - split: {file.stem}\n    path: {file.name}\n" for file in sorted(folder.glob("*.jsonl")))
    name = CONFIGURATIONS.get(folder.name, "default")
    _write(folder / "README.md", f"---\nconfigs:\n- config_name: {name}\n  data_files:\n{splits}---\n")


def main(folder: Path | None) -> None:
    for part in SETS:
        rows = taken(of_hub(part) if folder is None else of_folder(part, folder), part)
        file = OUT / part.file
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        _write(file, text)
        print(f"{file.relative_to(ROOT)}: {len(rows)} rows")
    for benchmark in (OUT / "benchmarks").iterdir():
        _describe(benchmark)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    except UserError as error:
        sys.exit(f"make demo-real: {error}")
