"""`egpo power`: what an experiment can find, before it is run, from records or stated variances."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from egpo.analysis.answers import Answers, read_answers
from egpo.analysis.power import (
    MOST_SEEDS,
    POWER,
    Design,
    Parts,
    interval,
    parts_of,
    power,
    resampled,
    seeds_needed,
    smallest,
)
from egpo.analysis.statistics import LEVEL
from egpo.common.errors import UserError
from egpo.common.files import write_text
from egpo.common.paths import Paths
from egpo.config.experiment import Catalogue
from egpo.config.matrix import benchmarks_of
from egpo.report.document import markdown_table
from egpo.report.figures.power import draw

SEEDS = (1, 2, 3, 5, 8, 12, 20, 32)
ANY = "any"  # backbone of stated variances
HEADS = ["Backbone", "Benchmark"]
Recorded = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]  # backbone, benchmark: answers of both methods


@dataclass(frozen=True)
class Stated:
    """What the user says of the variances, in points of accuracy and percent; None: from the records."""

    sd_seed: float | None = None
    sd_question: float | None = None
    accuracy: float | None = None

    @property
    def parts(self) -> dict[str, float]:
        """The parts that are stated, as variances of shares."""
        values = {
            "seed": None if self.sd_seed is None else (self.sd_seed / 100) ** 2,
            "question": None if self.sd_question is None else (self.sd_question / 100) ** 2,
            "trial": None if self.accuracy is None else self.accuracy / 100 * (1 - self.accuracy / 100),
        }
        return {key: value for key, value in values.items() if value is not None}

    def alone(self, where: str) -> Parts:
        """All parts without records. Raises UserError where they are not stated."""
        options = {"question": "--sd-question", "trial": "--accuracy"}
        if missing := sorted(option for key, option in options.items() if key not in self.parts):
            raise UserError(
                f"{where}: there are no records yet, so state {' and '.join(missing)} (and --sd-seed): for example "
                "--accuracy 70 --sd-question 25 --sd-seed 1."
            )
        return Parts(**{"seed": math.nan, "cross": 0.0, **self.parts})


@dataclass(frozen=True)
class Comparison:
    """Two methods on a benchmark.

    Attributes:
        sources: of the parts that are not from records: "stated" or "assumed".
        draws: parts that could be behind the records, those that are stated as stated; none without records.
    """

    backbone: str
    benchmark: str
    questions: int
    parts: Parts
    sources: dict[str, str]
    draws: tuple[Parts, ...] = ()

    def cell(self, of: Callable[[Parts], float], text: Callable[[float], str]) -> str:
        """A quantity with its interval, as text."""
        value, (low, high) = of(self.parts), self.around(of)
        if math.isnan(value):
            return "unknown"
        return text(value) if math.isnan(low) else f"{text(value)} [{text(low)}, {text(high)}]"

    def around(self, of: Callable[[Parts], float]) -> tuple[float, float]:
        """95% interval of a quantity that depends on the parts alone; nan without records."""
        return interval(of(one) for one in self.draws)


def _recorded(catalogue: Catalogue, first: str, second: str) -> Recorded:
    """The answers of the training seeds that have been evaluated."""
    experiment, paths = catalogue.experiment, Paths(catalogue.experiment.experiment)
    answers: dict[tuple[str, str, str], Answers] = {}
    for method in (first, second):
        models = [(backbone, method, seed) for backbone in experiment.backbones for seed in experiment.training_seeds]
        files = {model: paths.evaluation(*model) / "records.parquet" for model in models}
        there = {model: file for model, file in files.items() if file.exists()}
        answers |= read_answers(catalogue, there, benchmarks_of(experiment, method))
    return {
        (backbone, name): (one.correct, answers[backbone, second, name].correct)
        for (backbone, method, name), one in answers.items()
        if method == first and (backbone, second, name) in answers
    }


def _comparison(backbone: str, name: str, questions: int, recorded: Recorded, stated: Stated) -> Comparison:
    sources = dict.fromkeys(stated.parts, "stated")
    both = recorded.get((backbone, name))
    if both is None:
        parts = stated.alone(f"{name}, {backbone} backbone")
        return Comparison(backbone, name, questions, parts, {**sources, "cross": "assumed"})
    found = parts_of(*both)
    if math.isnan(found.seed):
        sources["cross"] = "assumed"
    draws = tuple(replace(one, **stated.parts) for one in resampled(*both))
    return Comparison(backbone, name, questions, replace(found, **stated.parts), sources, draws)


def comparisons(catalogue: Catalogue, first: str, second: str, stated: Stated) -> list[Comparison]:
    """Each backbone and benchmark; only the benchmarks where there are no records.

    Raises:
        UserError: something is neither recorded nor stated, or a benchmark has one question.
    """
    experiment = catalogue.experiment
    questions = {name: catalogue.benchmarks[name].num_questions for name in experiment.benchmarks}
    if single := [name for name, number in questions.items() if number < 2]:
        raise UserError(
            f"benchmarks: {', '.join(single)} has one question, and the test compares questions: take it out of "
            "`benchmarks`, or raise its num_questions."
        )
    recorded = _recorded(catalogue, first, second)
    return [
        _comparison(backbone, name, questions[name], recorded, stated)
        for backbone in (experiment.backbones if recorded else (ANY,))
        for name in experiment.benchmarks
    ]


# --- the page --------------------------------------------------------------------------------------


def _points(value: float) -> str:
    return "none" if math.isinf(value) else f"{100 * value:.1f}"


def _share(value: float) -> str:
    return f"{100 * value:.0f}%"


def _count(value: float) -> str:
    return "no number" if math.isinf(value) else f"{value:.0f}"


def _variances(catalogue: Catalogue, found: list[Comparison]) -> list[str]:
    """Where the variance comes from, with the source of each part."""
    rows = []
    for one in found:
        cells = []
        for part in ("seed", "question", "cross", "trial"):

            def root(parts: Parts, part: str = part) -> float:
                return math.sqrt(getattr(parts, part))

            source = one.sources.get(part)
            cells.append(f"{_points(root(one.parts))} {source}" if source else one.cell(root, _points))
        rows.append([one.backbone, catalogue.benchmarks[one.benchmark].label, *cells])
    return [
        "## Where the variance comes from",
        "",
        "Standard deviations in points: of a model's accuracy between training seeds; of the methods' difference "
        "between questions; of a model's accuracy on a question between seeds; of a single answer. Those without a "
        "word are from records.",
        "",
        *markdown_table([*HEADS, "seed", "question", "seed and question", "trial"], rows, texts=2),
    ]


def _least(catalogue: Catalogue, found: list[Comparison]) -> tuple[list[str], pd.DataFrame]:
    """The smallest differences by number of seeds: as lines, and in points as a table."""
    trials = len(catalogue.experiment.evaluation.seeds)
    rows, least = [], []
    for one in found:
        cells = []
        for seeds in SEEDS:
            of = partial(smallest, design=Design(seeds, one.questions, trials))
            low, high = one.around(of)
            cells.append(one.cell(of, _points))
            least.append(
                {"backbone": one.backbone, "benchmark": one.benchmark, "seeds": seeds, "smallest": 100 * of(one.parts),
                 "low": 100 * low, "high": 100 * high}
            )  # fmt: skip
        rows.append([one.backbone, catalogue.benchmarks[one.benchmark].label, str(one.questions), *cells])
    lines = [
        f"## The smallest difference that is found in {POWER:.0%} of the cases",
        "",
        f"In points, by training seeds of each method, with {trials} trials of each question; two-sided at "
        f"{LEVEL:.0%}, without correction for several comparisons. With one seed the test is about two trained models; "
        "the chance counts that the next ones would differ, where it is known by how much.",
        "",
        *markdown_table([*HEADS, "questions", *map(str, SEEDS)], rows, texts=2),
    ]
    return lines, pd.DataFrame(least)


def _of_gain(catalogue: Catalogue, found: list[Comparison], gain: float) -> list[str]:
    """How often a gain (a share) is found as planned, and how many seeds it needs."""
    trials, now = len(catalogue.experiment.evaluation.seeds), len(catalogue.experiment.training_seeds)
    rows = []
    for one in found:
        planned, single = (Design(seeds, one.questions, trials) for seeds in (now, 1))

        def alarms(parts: Parts, design: Design = single) -> float:
            return math.nan if math.isnan(parts.seed) else power(parts, design, 0.0)

        def seeds(parts: Parts, questions: int = one.questions) -> float:
            return math.nan if math.isnan(parts.seed) else seeds_needed(parts, questions, trials, gain) or math.inf

        cells = [one.cell(partial(power, design=planned, gain=gain), _share), one.cell(alarms, _share)]
        rows.append([one.backbone, catalogue.benchmarks[one.benchmark].label, *cells, one.cell(seeds, _count)])
    heads = [f"found with {now} seed{'s' if now > 1 else ''}", "false alarms with one seed", "seeds needed"]
    return [
        f"## A gain of {100 * gain:g} points",
        "",
        *markdown_table([*HEADS, *heads], rows, texts=2),
        "",
        "False alarms: how often the test finds a difference between two models of methods that do not differ. No "
        f"number: {MOST_SEEDS} seeds are too few, as the questions vary by more. Unknown: one seed says nothing about "
        "the next; state --sd-seed.",
    ]


def _methods(catalogue: Catalogue, first: str | None, second: str | None) -> tuple[str, str]:
    """The two methods that are compared. Raises UserError."""
    experiment = catalogue.experiment
    first = first or experiment.main_method
    second = second or next((name for name in experiment.methods if name != first), None)
    if second is None:
        raise UserError(f"methods: there is none to compare {first} with: add one, or name it with --second.")
    for name in (first, second):
        if name not in catalogue.methods:
            raise UserError(f"{name}: is no method. Known: {', '.join(catalogue.methods)}.")
    if first == second:
        raise UserError(f"--first and --second are both {first}: name two methods.")
    return first, second


def run(catalogue: Catalogue, gain: float, first: str | None, second: str | None, stated: Stated) -> int:
    """Write power.md, .csv, .png and .pdf to results/<experiment>/power, and print the page."""
    experiment = catalogue.experiment
    first, second = _methods(catalogue, first, second)
    found = comparisons(catalogue, first, second, stated)
    title = f"{catalogue.methods[first].label} against {catalogue.methods[second].label}"
    kinds = {
        "records of this experiment": any(one.draws for one in found),
        "stated variances": bool(stated.parts),
    }
    source = " and ".join(kind for kind, there in kinds.items() if there)
    brackets = ["In brackets: 95% intervals, by what the records leave open of the variances.", ""]
    least, table = _least(catalogue, found)
    lines = [
        *(f"# What {experiment.experiment} can find: {title}", "", f"From {source}.", ""),
        *(brackets if any(one.draws for one in found) else []),
        *(*_variances(catalogue, found), "", *least, "", *_of_gain(catalogue, found, gain / 100)),
    ]
    text = "\n".join(lines) + "\n"
    place: Path = Paths(experiment.experiment).root / "power"
    write_text(place / "power.md", text)
    write_text(place / "power.csv", table.to_csv(index=False, float_format="%.4f"))
    draw(table, gain, {name: one.label for name, one in catalogue.benchmarks.items()}, f"{title} ({source})", place)
    print(f"{text}\nAlso in {place}, with a figure.")
    return 0
