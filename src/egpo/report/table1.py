"""Table 1 of the paper: accuracy of each backbone, and of each method trained on it, on every benchmark.

Made from the records alone (egpo.evaluation.records). `cells` gives the numbers; the three formats show them.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from egpo.config import Catalogue
from egpo.errors import UserError
from egpo.evaluation.records import METADATA
from egpo.evaluation.statistics import accuracy, clustered_se, correctness, sd_over_trials
from egpo.files import write_text
from egpo.paths import BASE, BASE_SEED

Model = tuple[str, str, int]  # backbone, method, training seed
NOT_SCORED = ("excluded", "missing", "failed", "overflow")
CAPTION = "Accuracy in percent, mean pass@1 over the trials; in brackets the change against the base."


@dataclass(frozen=True)
class Cell:
    """One number of the table with what belongs to it. Accuracy, delta, sd and se are in percent or its points."""

    backbone: str
    method: str
    benchmark: str
    accuracy: float
    delta: float  # nan for the base
    sd_trials: float  # nan for a single trial
    se: float
    n_questions: int
    n_trials: int
    n_training_seeds: int
    counts: dict[str, int]  # of answers: each kind of NOT_SCORED, and "truncated"

    @property
    def text(self) -> str:
        """'74.00' or '74.00 (+50.60)'."""
        change = "" if math.isnan(self.delta) else f" ({self.delta:+.2f})"
        return f"{self.accuracy:.2f}{change}"

    def row(self, note: str) -> dict[str, Any]:
        """The cell as a row of the CSV file."""
        plain = {key: value for key, value in vars(self).items() if key != "counts"}
        return {**plain, **{f"n_{kind}": count for kind, count in self.counts.items()}, "note": note}


@dataclass(frozen=True)
class Records:
    """Records of one model, and how they were made."""

    rows: pd.DataFrame
    made: dict[str, Any]


def read_records(path: Path) -> Records:
    """records.parquet of one model. Raises UserError for a file that is none."""
    try:
        table = pq.read_table(path)
        made = json.loads((table.schema.metadata or {})[METADATA])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not the records of an evaluation ({error}). Delete it and run again.") from None
    return Records(table.to_pandas(), made)


def _matrix(records: Records, benchmark: str, catalogue: Catalogue, path: Path) -> np.ndarray:
    """Booleans (questions, trials), checked against what the experiment asks for."""
    correct = correctness(records.rows[records.rows["benchmark"] == benchmark])
    asked = (catalogue.benchmarks[benchmark].items, len(catalogue.experiment.evaluation.seeds))
    if correct.shape != asked:
        raise UserError(
            f"{path}: holds {correct.shape[0]} questions and {correct.shape[1]} trials of {benchmark}; the experiment "
            f"asks for {asked[0]} and {asked[1]}. Delete it and run the evaluation again."
        )
    return correct


def _cell(
    catalogue: Catalogue, model: tuple[str, str], benchmark: str, read: dict[Path, Records], base: float | None
) -> Cell:
    """One cell from the records of one model, one entry of `read` per training seed. base: accuracy in percent."""
    correct = np.stack([_matrix(records, benchmark, catalogue, path) for path, records in read.items()])
    rows = pd.concat([records.rows[records.rows["benchmark"] == benchmark] for records in read.values()])
    status = Counter(rows["status"])
    percent = 100 * accuracy(correct)
    return Cell(
        backbone=model[0],
        method=model[1],
        benchmark=benchmark,
        accuracy=percent,
        delta=math.nan if base is None else percent - base,
        sd_trials=100 * sd_over_trials(correct),
        se=100 * clustered_se(correct),
        n_questions=correct.shape[1],
        n_trials=correct.shape[2],
        n_training_seeds=correct.shape[0],
        counts={kind: status[kind] for kind in NOT_SCORED} | {"truncated": int(rows["truncated"].sum())},
    )


def cells(catalogue: Catalogue, records: dict[Model, Path]) -> tuple[list[Cell], list[dict[str, Any]]]:
    """Every cell, row by row in the order of the experiment, and how each model's records were made."""
    experiment = catalogue.experiment
    table: list[Cell] = []
    made: list[dict[str, Any]] = []
    for backbone in experiment.backbones:
        base: dict[str, float] = {}
        for method in (BASE, *experiment.methods):
            seeds = (BASE_SEED,) if method == BASE else experiment.training_seeds
            paths = [records[backbone, method, seed] for seed in seeds]
            read = {path: read_records(path) for path in paths}
            made += [one.made for one in read.values()]
            row = [_cell(catalogue, (backbone, method), name, read, base.get(name)) for name in experiment.benchmarks]
            table += row
            if method == BASE:
                base = {cell.benchmark: cell.accuracy for cell in row}
    return table, made


def best(table: list[Cell]) -> set[tuple[str, str, str]]:
    """(backbone, method, benchmark) of the highest accuracy of each backbone on each benchmark; ties share it."""
    top: dict[tuple[str, str], float] = {}
    for cell in table:
        place = cell.backbone, cell.benchmark
        top[place] = max(cell.accuracy, top.get(place, -1.0))
    return {
        (cell.backbone, cell.method, cell.benchmark)
        for cell in table
        if cell.accuracy == top[cell.backbone, cell.benchmark]
    }


def _values(made: list[dict[str, Any]], key: str) -> str:
    """All values that a setting has among the models, e.g. '3072 or 16384'."""
    return " or ".join(str(value) for value in sorted({one[key] for one in made}))


def notes(catalogue: Catalogue, table: list[Cell], made: list[dict[str, Any]]) -> list[str]:
    """The lines under the table: how much was asked, how, what was not scored, and what it can mean."""
    experiment = catalogue.experiment
    questions = ", ".join(
        f"{catalogue.benchmarks[name].label} {catalogue.benchmarks[name].items}" for name in experiment.benchmarks
    )
    trials, seeds = len(experiment.evaluation.seeds), len(experiment.training_seeds)
    lines = [
        f"Questions: {questions}. Trials per question: {trials}, each with a seed of its own. "
        f"Training seeds per method: {seeds}. Best of each backbone in bold.",
        f"Decoding: temperature {_values(made, 'temperature')}, top-p {_values(made, 'top_p')}, "
        f"top-k {_values(made, 'top_k')}, at most {_values(made, 'max_tokens')} tokens in a context of "
        f"{_values(made, 'context')}, {_values(made, 'dtype')}. The whole response is scored, thoughts included.",
        f"Prompts, extraction and rule scores of evalscope {_values(made, 'evalscope')}; vLLM {_values(made, 'vllm')}.",
        f"Standard errors over questions: {min(c.se for c in table):.2f} to {max(c.se for c in table):.2f} points; "
        f"every one is in table1.csv, with the spread over trials.",
        _lost(catalogue, table),
    ]
    note = " ".join(experiment.note.split())
    return [*lines, *([note] if note else [])]


def _lost(catalogue: Catalogue, table: list[Cell]) -> str:
    """What was not scored, and how much was cut off."""
    answers = sum(cell.n_questions * cell.n_trials * cell.n_training_seeds for cell in table)
    truncated = sum(cell.counts["truncated"] for cell in table)
    cut = f" {truncated} of {answers} answers were cut off at the limit."
    lost = [
        f"{label(catalogue, cell)} on {catalogue.benchmarks[cell.benchmark].label}: "
        + ", ".join(f"{cell.counts[kind]} {kind}" for kind in NOT_SCORED if cell.counts[kind])
        for cell in table
        if any(cell.counts[kind] for kind in NOT_SCORED)
    ]
    if not lost:
        return f"Every answer was scored.{cut}"
    return f"Not scored, and counted as wrong: {'; '.join(lost)}.{cut}"


def label(catalogue: Catalogue, cell: Cell) -> str:
    """'Qwen2.5-Math-7B (Base)' or 'Qwen2.5-Math-7B + EGPO'."""
    backbone = catalogue.backbones[cell.backbone].label
    return f"{backbone} (Base)" if cell.method == BASE else f"{backbone} + {catalogue.methods[cell.method].label}"


def _rows(catalogue: Catalogue, table: list[Cell], bold: Callable[[str], str]) -> Iterator[tuple[Cell, list[str]]]:
    """The first cell of each row, and the row's texts, the best ones through `bold`."""
    top = best(table)
    width = len(catalogue.experiment.benchmarks)
    for start in range(0, len(table), width):
        row = table[start : start + width]
        yield (
            row[0],
            [bold(cell.text) if (cell.backbone, cell.method, cell.benchmark) in top else cell.text for cell in row],
        )


def markdown(catalogue: Catalogue, table: list[Cell], below: list[str]) -> str:
    heads = ["Model", *(catalogue.benchmarks[name].label for name in catalogue.experiment.benchmarks)]
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for first, texts in _rows(catalogue, table, "**{}**".format):
        name = label(catalogue, first) if first.method == BASE else f"+ {catalogue.methods[first.method].label}"
        lines.append("| " + " | ".join([name, *texts]) + " |")
    return "\n".join(["# Table 1", "", CAPTION, "", *lines, *(part for line in below for part in ("", line))]) + "\n"


def _escape(text: str) -> str:
    """Plain text for LaTeX."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(sign, f"\\{sign}" if sign in "&%$#_{}" else sign) for sign in text)


def latex(catalogue: Catalogue, table: list[Cell], below: list[str]) -> str:
    r"""A table environment to \input; it needs the package booktabs."""
    heads = [_escape(catalogue.benchmarks[name].label) for name in catalogue.experiment.benchmarks]
    lines = [
        r"\begin{table}",
        r"\centering",
        f"\\caption{{{_escape(CAPTION)}}}",
        r"\label{tab:main}",
        f"\\begin{{tabular}}{{l{'r' * len(heads)}}}",
        r"\toprule",
        " & ".join(["Model", *heads]) + r" \\",
    ]
    for first, texts in _rows(catalogue, table, r"\textbf{{{}}}".format):
        if first.method == BASE:
            lines.append(r"\midrule")
            name = _escape(label(catalogue, first))
        else:
            name = r"\quad + " + _escape(catalogue.methods[first.method].label)
        lines.append(" & ".join([name, *texts]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", "", r"\smallskip", r"\begin{minipage}{\linewidth}\footnotesize"]
    lines += [_escape(line) + r"\par" for line in below]
    return "\n".join([*lines, r"\end{minipage}", r"\end{table}"]) + "\n"


def table1(catalogue: Catalogue, records: dict[Model, Path], out: Path) -> None:
    """Write table1.md, table1.tex and table1.csv (tidy: one row per model and benchmark) into `out`.

    records: records.parquet of each (backbone, method, training seed); the base is the method "base"
    with seed 0. Raises UserError for a file that does not hold what the experiment asks for.
    """
    table, made = cells(catalogue, records)
    below = notes(catalogue, table, made)
    write_text(out / "table1.md", markdown(catalogue, table, below))
    write_text(out / "table1.tex", latex(catalogue, table, below))
    rows = pd.DataFrame([cell.row(" ".join(catalogue.experiment.note.split())) for cell in table])
    write_text(out / "table1.csv", rows.to_csv(index=False, float_format="%.4f"))
