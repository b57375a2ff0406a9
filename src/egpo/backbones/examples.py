"""Worked examples of a backbone's warm-up: problems of the user with the responses to learn."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from egpo.common.errors import UserError
from egpo.common.files import write_text
from egpo.common.json_lines import read_objects
from egpo.config.backbones import SupervisedWarmUp
from egpo.config.data import Data
from egpo.data import contamination
from egpo.data.problem_files import worked_rows
from egpo.data.reference_answers import unboxed
from egpo.data.tokens import tokenised

Report = Callable[[str], None]
CALCULATOR = re.compile(r"<<[^<>]*>>")  # GSM8K's notes for a calculator


@dataclass(frozen=True)
class Worked:
    """A problem and the response to learn, which ends with the answer in a box."""

    problem: str
    response: str


def response_of(solution: str, answer: str) -> str:
    """A worked solution as a response: with its answer in a box, in the last line."""
    text = CALCULATOR.sub("", solution).strip()
    if "\\boxed" in text:
        return text
    return f"{text}\n\\boxed{{{answer}}}".lstrip()


def read_worked(warm_up: SupervisedWarmUp, report: Report) -> list[Worked]:
    """Every example of the sets.

    Raises:
        UserError: for a file that is missing or broken, and where no row has a problem and an answer.
    """
    rows = [row for part in warm_up.sets for row in worked_rows(part, "warm_up.sets")]
    whole = [(problem, solution, unboxed(answer)) for problem, solution, answer in rows if problem and unboxed(answer)]
    if not whole:
        raise UserError("warm_up.sets: no row has both a problem and an answer: name their columns.")
    if len(whole) < len(rows):
        report(f"{len(rows) - len(whole)} of {len(rows)} examples have no problem or no answer and are left out")
    return [Worked(problem, response_of(solution, answer)) for problem, solution, answer in whole]


def write_worked(warm_up: SupervisedWarmUp, file: Path, report: Report) -> None:
    """Write what `read_worked` finds, as lines of JSON. A job of its own: it may need a network, the warm-up a GPU."""
    examples = read_worked(warm_up, report)
    write_text(file, "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in examples))


def written(file: Path) -> list[Worked]:
    """The examples that `write_worked` wrote."""
    return [Worked(**values) for _, values in read_objects(file)]


def apart_from(examples: list[Worked], questions: Iterable[str], data: Data, report: Report) -> list[Worked]:
    """The examples that no rule of decontamination finds among `questions`."""
    settings = data.decontamination
    items = contamination.Prepared.of(tokenised(list(questions)), settings, data.deduplication)
    texts = contamination.Prepared.of(tokenised([one.problem for one in examples]), settings, data.deduplication)
    rules = contamination.found(texts, items, settings)
    nothing = np.zeros(len(examples), dtype=bool)  # where no rule is to count
    near = np.logical_or.reduce([nothing, *(rules[rule] for rule in settings.rules)])
    if near.any():
        report(f"{near.sum()} of {len(examples)} examples are near a question of an evaluation and are left out")
    return [one for one, hit in zip(examples, near, strict=True) if not hit]
