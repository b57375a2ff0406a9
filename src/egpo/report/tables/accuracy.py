"""Tables 1 and 2 of the paper: accuracy of models on benchmarks, in three formats, beside the printed numbers.

`lay_out` computes the numbers from the records (egpo.evaluation.records); the three formats show them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from egpo.analysis.answers import NOT_SCORED, Answers, read_answers
from egpo.analysis.ceilings import ceilings
from egpo.analysis.labels import label, note
from egpo.analysis.statistics import accuracy, interval, sd_over_trials, standard_error
from egpo.common.files import write_text
from egpo.common.paths import BASE, Model
from egpo.config.experiment import Catalogue
from egpo.config.files import read_yaml
from egpo.report.document import booktabs, document, escape, markdown_table, paragraphs

AVERAGE = "average"
SCORED_BY = {"evalscope": "scores by its rules", "verifier": "scores by the verifier of the training"}
RESAMPLES = 2000  # of an interval's bootstrap: its bounds then vary by about a twentieth of its width


@dataclass(frozen=True)
class Table:
    """What a table shows.

    Attributes:
        groups: rows (backbone, method) between two rules; deltas are against the first row of a group.
        deltas: whether cells have their change against the base.
        average: whether there is a column with the mean over the benchmarks.
        paper: the printed numbers, by backbone, method and benchmark.
    """

    name: str
    title: str
    caption: str
    groups: list[list[tuple[str, str]]]
    benchmarks: list[str]
    deltas: bool
    average: bool
    paper: dict[str, dict[str, dict[str, float]]]


def table1(catalogue: Catalogue, paper: dict[str, Any]) -> Table:
    """Every backbone alone and with each method, and the extra models, on every benchmark."""
    experiment = catalogue.experiment
    groups = [[(name, BASE), *((name, method) for method in experiment.methods)] for name in experiment.backbones]
    groups += [[(name, BASE)] for name in experiment.extra_models]
    caption = "Accuracy in percent, mean pass@1 over the trials; in brackets the change against the base."
    return Table("table1", "Table 1", caption, groups, list(experiment.benchmarks), True, False, paper["table1"])


def table2(catalogue: Catalogue, paper: dict[str, Any]) -> Table:
    """The ablations, between their backbone alone and the method that they change."""
    ablations = catalogue.experiment.ablations
    assert ablations is not None
    methods = dict.fromkeys([BASE, *ablations.methods, catalogue.experiment.main_method])
    caption = (
        f"Ablations on {catalogue.backbones[ablations.backbone].label}: accuracy in percent, mean pass@1 over the "
        "trials, and its average over the benchmarks."
    )
    groups = [[(ablations.backbone, method) for method in methods]]
    printed = {"qwen2.5-math-1.5b": paper["table2"]}
    return Table("table2", "Table 2", caption, groups, list(ablations.benchmarks), False, True, printed)


@dataclass(frozen=True)
class Cell:
    """One number of a table with what belongs to it.

    All but counts and n_* are in percent or in points of it. A value that does not exist is nan: the delta of a base,
    the errors of an average over benchmarks, a number that the paper does not print.
    """

    backbone: str
    method: str
    benchmark: str
    accuracy: float
    verifier: float  # accuracy by the verifier of the training
    delta: float
    se: float
    low: float  # of the 95% interval
    high: float
    sd_trials: float
    n_questions: int
    n_trials: int
    n_training_seeds: int
    counts: dict[str, int]  # of answers, as `Answers.counts`
    paper: float

    def text(self, deltas: bool) -> str:
        """'74.00' or '74.00 (+50.60)'."""
        change = f" ({self.delta:+.2f})" if deltas and not math.isnan(self.delta) else ""
        return f"{self.accuracy:.2f}{change}"

    def row(self, below: str) -> dict[str, Any]:
        """The cell as a row of the CSV file."""
        plain = {key: value for key, value in vars(self).items() if key != "counts"}
        counts = {f"n_{kind}": count for kind, count in self.counts.items()}
        return {**plain, "minus_paper": self.accuracy - self.paper, **counts, "note": below}


def _cell(answers: Answers, base: Answers | None, paper: float) -> Cell:
    correct = answers.correct
    low, high = interval(correct, resamples=RESAMPLES)
    percent = 100 * accuracy(correct)
    return Cell(
        backbone=answers.backbone,
        method=answers.method,
        benchmark=answers.benchmark,
        accuracy=percent,
        verifier=100 * accuracy(answers.correct_by("verifier")),
        delta=math.nan if base is None else percent - 100 * accuracy(base.correct),
        se=100 * standard_error(correct),
        low=100 * low,
        high=100 * high,
        sd_trials=100 * sd_over_trials(correct),
        n_questions=correct.shape[1],
        n_trials=correct.shape[2],
        n_training_seeds=correct.shape[0],
        counts=answers.counts,
        paper=paper,
    )


def _average(row: list[Cell], paper: float) -> Cell:
    """The mean over the benchmarks, each with the same weight."""
    count, nan = len(row), math.nan
    first = row[0]
    mean, verifier, delta = (
        sum(getattr(cell, key) for cell in row) / count for key in ("accuracy", "verifier", "delta")
    )
    sizes = (sum(cell.n_questions for cell in row), first.n_trials, first.n_training_seeds)
    counts = {kind: sum(cell.counts[kind] for cell in row) for kind in first.counts}
    return Cell(first.backbone, first.method, AVERAGE, mean, verifier, delta, nan, nan, nan, nan, *sizes, counts, paper)


def lay_out(table: Table, found: dict[tuple[str, str, str], Answers]) -> list[list[list[Cell]]]:
    """The cells, as groups of rows.

    Args:
        found: answers by backbone, method and benchmark.
    """
    made = []
    for group in table.groups:
        rows = []
        for backbone, method in group:
            printed = table.paper.get(backbone, {}).get(method, {})
            row = []
            for name in table.benchmarks:
                base = None if (backbone, method) == group[0] else found[*group[0], name]
                row.append(_cell(found[backbone, method, name], base, printed.get(name, math.nan)))
            rows.append([*row, _average(row, printed.get(AVERAGE, math.nan))] if table.average else row)
        made.append(rows)
    return made


def _best(rows: list[list[Cell]]) -> list[float]:
    """The highest accuracy of each column; nan, which nothing equals, where all are the same."""
    columns = [[cell.accuracy for cell in column] for column in zip(*rows, strict=True)]
    return [max(column) if max(column) > min(column) else math.nan for column in columns]


def notes(
    catalogue: Catalogue,
    table: Table,
    groups: list[list[list[Cell]]],
    made: list[dict[str, Any]],
    most: pd.DataFrame,
) -> list[str]:
    """The notes below the table: questions, decoding, errors, what was not scored, ceilings, the experiment's note."""
    experiment = catalogue.experiment
    cells = [cell for rows in groups for row in rows for cell in row if cell.benchmark != AVERAGE]
    questions = ", ".join(
        f"{catalogue.benchmarks[name].label} {catalogue.benchmarks[name].num_questions}" for name in table.benchmarks
    )
    lines = [
        f"Questions: {questions}. Trials per question: {len(experiment.evaluation.seeds)}, each with another seed. "
        f"Training seeds per method: {len(experiment.training_seeds)}. Best of each group in bold.",
        f"Decoding: temperature {values(made, 'temperature')}, top-p {values(made, 'top_p')}, top-k "
        f"{values(made, 'top_k')}, at most {values(made, 'max_tokens')} tokens in a context of "
        f"{values(made, 'max_model_len')}, {values(made, 'dtype')}. The whole response is scored, thoughts included.",
        f"Prompts and extraction of evalscope {values(made, 'evalscope')}, {SCORED_BY[experiment.scored_by]}; vLLM "
        f"{values(made, 'vllm')}.",
        _errors(table, cells),
        _lost(catalogue, cells),
        *_ceilings(catalogue, table, most),
    ]
    return [*lines, *filter(None, [note(catalogue)])]


def values(made: Iterable[dict[str, Any]], key: str) -> str:
    """All values that a setting has among the models, e.g. '3072 or 16384'."""
    return " or ".join(str(value) for value in sorted({one[key] for one in made}))


def _errors(table: Table, cells: list[Cell]) -> str:
    errors = [cell.se for cell in cells if not math.isnan(cell.se)]
    span = f"{min(errors):.2f} to {max(errors):.2f} points" if errors else "none can be estimated"
    return (
        f"Standard errors, clustered by question: {span}; each one, with its 95% interval and the spread over "
        f"trials, is in {table.name}.csv. comparisons.md tests the differences."
    )


def _ceilings(catalogue: Catalogue, table: Table, most: pd.DataFrame) -> list[str]:
    """What the references themselves score, by whoever scores the table, and which benchmarks a judge scores."""
    scorer = catalogue.experiment.scored_by
    known = most[most["benchmark"].isin(table.benchmarks)].to_dict("records")
    shares = [
        f"{catalogue.benchmarks[row['benchmark']].label} {100 * row[scorer] / row['questions']:.2f}" for row in known
    ]
    lines = (
        [f"Ceiling, which is what the reference answers score: {', '.join(shares)} (ceilings.md)."] if shares else []
    )
    judged = {name: catalogue.benchmarks[name].judge for name in table.benchmarks}
    return lines + [
        f"{catalogue.benchmarks[name].label} is scored by the judge {judge.model}."
        for name, judge in judged.items()
        if judge
    ]


def _lost(catalogue: Catalogue, cells: list[Cell]) -> str:
    """What was not scored, and how much was cut off."""
    answers = sum(cell.n_questions * cell.n_trials * cell.n_training_seeds for cell in cells)
    truncated, short = (sum(cell.counts[kind] for cell in cells) for kind in ("truncated", "shortened"))
    cut = f" {truncated} of {answers} answers were cut off at their limit; {short} had a shorter one than the others, "
    cut += "as their prompts left no more of the context."
    lost = [
        f"{label(catalogue, cell.backbone, cell.method)} on {catalogue.benchmarks[cell.benchmark].label}: "
        + ", ".join(f"{cell.counts[kind]} {kind}" for kind in NOT_SCORED if cell.counts[kind])
        for cell in cells
        if any(cell.counts[kind] for kind in NOT_SCORED)
    ]
    if not lost:
        return f"Every answer was scored.{cut}"
    return f"Not scored, and counted as wrong: {'; '.join(lost)}.{cut}"


def _heads(catalogue: Catalogue, table: Table) -> list[str]:
    return [*(catalogue.benchmarks[name].label for name in table.benchmarks), *(["Average"] if table.average else [])]


def _name(catalogue: Catalogue, cell: Cell) -> str:
    """A row's name in its group: the whole label of a base, only the method's of the rows below it."""
    if cell.method == BASE:
        return label(catalogue, cell.backbone, BASE)
    return f"+ {catalogue.methods[cell.method].label}"


def _texts(table: Table, rows: list[list[Cell]], bold: Callable[[str], str]) -> Iterator[tuple[Cell, list[str]]]:
    """The first cell of each row, and the row's texts, the best ones through `bold`."""
    best = _best(rows)
    for row in rows:
        texts = [cell.text(table.deltas) for cell in row]
        pairs = zip(row, texts, best, strict=True)
        yield row[0], [bold(text) if cell.accuracy == top else text for cell, text, top in pairs]


def _beside_the_paper(catalogue: Catalogue, table: Table, groups: list[list[list[Cell]]]) -> list[str]:
    """The printed numbers and what ours is above them; one line where the paper has none of these models."""
    known = [row for rows in groups for row in rows if not all(math.isnan(cell.paper) for cell in row)]
    if not known:
        return ["The paper prints no number for these models."]
    rows = []
    for row in known:
        texts = [
            "" if math.isnan(cell.paper) else f"{cell.paper:.2f} ({cell.accuracy - cell.paper:+.2f})" for cell in row
        ]
        rows.append([label(catalogue, row[0].backbone, row[0].method), *texts])
    title = "In brackets what ours is above it. Its numbers as printed, errors included."
    return ["## As printed in the paper", "", title, "", *markdown_table(["Model", *_heads(catalogue, table)], rows)]


def _by_the_verifier(catalogue: Catalogue, table: Table, groups: list[list[list[Cell]]]) -> list[str]:
    """The accuracies by the training's verifier, and what they are above those of the table."""
    rows = [
        [
            label(catalogue, row[0].backbone, row[0].method),
            *(f"{cell.verifier:.2f} ({cell.verifier - cell.accuracy:+.2f})" for cell in row),
        ]
        for group in groups
        for row in group
    ]
    about = (
        "The last box of each response against the reference, for multiple choice the letter (docs/answers.md). In "
        "brackets the difference from the table above. `scored_by: verifier` makes every table from these verdicts."
    )
    return [
        "## By the verifier of the training",
        "",
        about,
        "",
        *markdown_table(["Model", *_heads(catalogue, table)], rows),
    ]


def markdown(catalogue: Catalogue, table: Table, groups: list[list[list[Cell]]], below: list[str]) -> str:
    rows = [
        [_name(catalogue, first), *texts] for group in groups for first, texts in _texts(table, group, "**{}**".format)
    ]
    return document(
        [
            f"# {table.title}",
            "",
            table.caption,
            "",
            *markdown_table(["Model", *_heads(catalogue, table)], rows),
            *paragraphs(below),
            "",
            *_by_the_verifier(catalogue, table, groups),
            "",
            *_beside_the_paper(catalogue, table, groups),
        ]
    )


def latex(catalogue: Catalogue, table: Table, groups: list[list[list[Cell]]], below: list[str]) -> str:
    """The table for LaTeX."""
    lines = []
    for rows in groups:
        lines.append(r"\midrule")
        for first, texts in _texts(table, rows, r"\textbf{{{}}}".format):
            name = escape(_name(catalogue, first))
            lines.append(" & ".join([name if first.method == BASE else rf"\quad {name}", *texts]) + r" \\")
    return booktabs(table.name, table.caption, _heads(catalogue, table), lines, below)


def _write(catalogue: Catalogue, table: Table, records: dict[Model, Path], references: Path, out: Path) -> None:
    found = read_answers(catalogue, records, table.benchmarks)
    groups = lay_out(table, found)
    below = notes(
        catalogue, table, groups, [made for one in found.values() for made in one.made], ceilings(catalogue, references)
    )
    write_text(out / f"{table.name}.md", markdown(catalogue, table, groups, below))
    write_text(out / f"{table.name}.tex", latex(catalogue, table, groups, below))
    rows = pd.DataFrame([cell.row(note(catalogue)) for rows in groups for row in rows for cell in row])
    write_text(out / f"{table.name}.csv", rows.to_csv(index=False, float_format="%.4f"))


def write_table1(catalogue: Catalogue, records: dict[Model, Path], references: Path, paper: Path, out: Path) -> None:
    """Write table1.md, table1.tex and table1.csv (one row per model and benchmark) into `out`.

    Args:
        records: `records.parquet` of each model.
        references: verdicts on the reference answers (egpo.evaluation.references).
        paper: config/paper-numbers.yaml.

    Raises:
        UserError: a file does not hold what the experiment asks for.
    """
    _write(catalogue, table1(catalogue, read_yaml(paper)), records, references, out)


def write_table2(catalogue: Catalogue, ablated: dict[Model, Path], references: Path, paper: Path, out: Path) -> None:
    """Write table2.md, table2.tex and table2.csv, as `write_table1`; ablated: `records.parquet` of each model."""
    _write(catalogue, table2(catalogue, read_yaml(paper)), ablated, references, out)
