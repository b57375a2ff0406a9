"""`egpo power`: what an experiment can find, before it is run, from records or stated variances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from egpo.analysis.answers import VERDICTS
from egpo.analysis.power import POWER, Design, Parts, parts_of, power, resampled, seeds_needed, smallest
from egpo.analysis.statistics import LEVEL, correctness
from egpo.common.errors import UserError
from egpo.common.files import write_text
from egpo.common.paths import Paths
from egpo.config.experiment import Catalogue
from egpo.report.document import markdown_table
from egpo.report.figures.power import draw

SEEDS = (1, 2, 3, 5, 8, 12, 20, 32)
ANY = "any"  # backbone of stated variances


@dataclass(frozen=True)
class Stated:
    """What the user says of the variances, in points of accuracy and percent; None: from the records."""

    sd_seed: float | None = None
    sd_question: float | None = None
    accuracy: float | None = None

    def over(self, found: Parts | None, where: str) -> Parts:
        """These laid over what the records say.

        Raises:
            UserError: something is in neither.
        """
        values = {
            "seed": None if self.sd_seed is None else (self.sd_seed / 100) ** 2,
            "question": None if self.sd_question is None else (self.sd_question / 100) ** 2,
            "trial": None if self.accuracy is None else self.accuracy / 100 * (1 - self.accuracy / 100),
        }
        known = {key: value for key, value in values.items() if value is not None}
        if found is not None:
            return Parts(**{**found.__dict__, **known})
        if missing := sorted(
            {"question": "--sd-question", "trial": "--accuracy"}[key] for key in values.keys() - known.keys() - {"seed"}
        ):
            raise UserError(
                f"{where}: there are no records yet, so state {' and '.join(missing)} (and --sd-seed): for example "
                "--accuracy 70 --sd-question 25 --sd-seed 1."
            )
        return Parts(known.get("seed", math.nan), known["question"], 0.0, known["trial"])


@dataclass(frozen=True)
class Comparison:
    """Two methods on a benchmark. answers: of both (seeds, questions, trials); None without records."""

    backbone: str
    benchmark: str
    questions: int
    answers: tuple[np.ndarray, np.ndarray] | None
    parts: Parts

    def around(self, of: partial[float]) -> tuple[float, float]:
        """95% interval of a quantity that depends on the parts alone, by resampling; nan without records."""
        return (math.nan, math.nan) if self.answers is None else resampled(*self.answers, of)


def _answers(catalogue: Catalogue, backbone: str, method: str, benchmark: str) -> np.ndarray | None:
    """(seeds, questions, trials) of the seeds that have records; None without any."""
    experiment, paths = catalogue.experiment, Paths(catalogue.experiment.experiment)
    found = []
    for seed in experiment.training_seeds:
        file = paths.evaluation(backbone, method, seed) / "records.parquet"
        if file.exists():
            rows = pd.read_parquet(file, filters=[("benchmark", "==", benchmark)])
            if len(rows):
                found.append(correctness(rows, VERDICTS[experiment.scored_by]))
    return np.stack(found) if found else None


def comparisons(catalogue: Catalogue, first: str, second: str, stated: Stated) -> list[Comparison]:
    """Each backbone and benchmark; only the benchmarks where all variances are stated.

    Raises:
        UserError: something is neither recorded nor stated.
    """
    found = []
    stated_all = None not in (stated.sd_question, stated.accuracy)
    for backbone in (ANY,) if stated_all else catalogue.experiment.backbones:
        for name in catalogue.experiment.benchmarks:
            asked = () if backbone == ANY else (first, second)
            one, other = [_answers(catalogue, backbone, method, name) for method in asked] or (None, None)
            both = None if one is None or other is None else (one, other)
            parts = stated.over(parts_of(*both) if both else None, f"{backbone}, {name}")
            fixed = stated != Stated()  # then an interval by resampling would be of something else
            questions = catalogue.benchmarks[name].num_questions
            found.append(Comparison(backbone, name, questions, None if fixed else both, parts))
    return found


def _points(value: float, low: float = math.nan, high: float = math.nan) -> str:
    if math.isnan(value):
        return "unknown"
    text = "none" if math.isinf(value) else f"{100 * value:.1f}"
    return text if math.isnan(low) else f"{text} [{100 * low:.1f}, {100 * high:.1f}]"


def _share(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{100 * value:.0f}%"


def _needed(one: Comparison, trials: int, gain: float) -> str:
    if math.isnan(one.parts.seed):
        return "unknown: state --sd-seed"
    needed = seeds_needed(one.parts, one.questions, trials, gain)
    return "no number: the questions vary by more" if needed is None else str(needed)


def tables(catalogue: Catalogue, found: list[Comparison], gain: float) -> tuple[list[str], pd.DataFrame]:
    """Lines of Markdown, and the smallest differences as a table, in points."""
    trials, now = len(catalogue.experiment.evaluation.seeds), len(catalogue.experiment.training_seeds)
    label = {name: one.label for name, one in catalogue.benchmarks.items()}
    parts = [
        [one.backbone, label[one.benchmark], *(_points(math.sqrt(value)) for value in one.parts.__dict__.values())]
        for one in found
    ]
    rows, least = [], []
    for one in found:
        cells = []
        for seeds in SEEDS:
            design = Design(seeds, one.questions, trials)
            of = partial(smallest, design=design)
            value = math.nan if seeds > 1 and math.isnan(one.parts.seed) else of(one.parts)
            low, high = one.around(of) if not math.isnan(value) else (math.nan, math.nan)
            cells.append(_points(value, low, high))
            least.append(
                {"backbone": one.backbone, "benchmark": one.benchmark, "seeds": seeds, "smallest": 100 * value,
                 "low": 100 * low, "high": 100 * high}
            )  # fmt: skip
        rows.append([one.backbone, label[one.benchmark], str(one.questions), *cells])
    asked = [
        [
            one.backbone,
            label[one.benchmark],
            _share(power(one.parts, Design(now, one.questions, trials), gain)),
            _share(power(one.parts, Design(1, one.questions, trials), 0.0))
            if not math.isnan(one.parts.seed)
            else "unknown",
            _needed(one, trials, gain),
        ]
        for one in found
    ]
    heads = ["Backbone", "Benchmark"]
    lines = [
        "## Where the variance comes from",
        "",
        "Standard deviations in points: of a model's accuracy between training seeds; of the methods' difference "
        "between questions; of a model's accuracy on a question between seeds; of a single answer.",
        "",
        *markdown_table([*heads, "seed", "question", "seed and question", "trial"], parts, texts=2),
        "",
        f"## The smallest difference that is found in {POWER:.0%} of the cases",
        "",
        f"In points, by training seeds of each method, with {trials} trials of each question; two-sided at "
        f"{LEVEL:.0%}, without correction for several comparisons. With one seed the test is about two trained models; "
        "the chance counts that the next ones would differ. In brackets 95% intervals from resampled questions and "
        "seeds, where there are records.",
        "",
        *markdown_table([*heads, "questions", *map(str, SEEDS)], rows, texts=2),
        "",
        f"## A gain of {100 * gain:g} points",
        "",
        *markdown_table(
            [*heads, f"found with {now} seed{'s' if now > 1 else ''}", "false alarms with one seed", "seeds needed"],
            asked,
            texts=2,
        ),
        "",
        "False alarms: how often the test finds a difference between two models of methods that do not differ.",
    ]
    return lines, pd.DataFrame(least)


def run(catalogue: Catalogue, gain: float, first: str | None, second: str | None, stated: Stated) -> int:
    """Write power.md, .csv, .png and .pdf to results/<experiment>/power, and print the page."""
    experiment = catalogue.experiment
    first = first or experiment.main_method
    second = second or next((name for name in experiment.methods if name != first), first)
    for name in (first, second):
        if name not in catalogue.methods:
            raise UserError(f"{name}: is no method. Known: {', '.join(catalogue.methods)}.")
    found = comparisons(catalogue, first, second, stated)
    lines, least = tables(catalogue, found, gain / 100)
    title = f"{catalogue.methods[first].label} against {catalogue.methods[second].label}"
    source = "records of this experiment" if any(one.answers for one in found) else "stated variances"
    text = "\n".join([f"# What {experiment.experiment} can find: {title}", "", f"From {source}.", "", *lines]) + "\n"
    place: Path = Paths(experiment.experiment).root / "power"
    write_text(place / "power.md", text)
    write_text(place / "power.csv", least.to_csv(index=False, float_format="%.4f"))
    draw(least, gain, {name: one.label for name, one in catalogue.benchmarks.items()}, f"{title} ({source})", place)
    print(f"{text}\nAlso in {place}, with a figure.")
    return 0
