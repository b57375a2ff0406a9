"""A synthetic stand-in for OpenR1-Math: its columns, folders and shards, filled with sums.

Nothing in it comes from the real dataset, as its `source` column says. Some of its rows are made for the filters and
the deduplication to drop.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pandas as pd

from egpo.common.answers import extract_boxed
from egpo.common.hashing import digest, generator
from egpo.config.data import StandInSource
from egpo.data.schema import FOLDERS, write_shards
from egpo.data.source import Report, record
from egpo.synthetic.planted import planted_cases
from egpo.synthetic.problems import Problem, correct_generation, draw_problem, without_think_tags, wrong_generation

# Share of each kind of row, in percent.
KINDS = {
    "plain": 74,
    "copy": 5,  # the text of an earlier row, as it is or with slight changes
    "one-generation": 3,
    "no-answer": 4,
    "other-question-type": 5,
    "wrong-reference": 2,  # the answer is wrong, so every right generation counts as wrong
    "llama-only": 2,  # right, but math-verify did not see it
    "no-box": 2,
    "missing-flags": 1,
    "leak": 2,  # in a wording of the synthetic benchmarks, often one of their items with other numbers
}
# Share of each bucket among rows of right answers, in percent.
BUCKETS = {"mixed": 48, "correct": 37, "incorrect": 15}
NO_ANSWERS = ("notfound", "proof", "", None)
PROBLEM_TYPES = ("Algebra", "Number Theory", "Other")


def _choose(rng: Random, shares: dict[str, int]) -> str:
    return rng.choices(list(shares), weights=list(shares.values()))[0]


def _rng(source: StandInSource, subset: str, index: int, what: str = "row") -> Random:
    return generator(source.seed, f"stand-in {what}", f"{subset}-{index}")


def _problem(source: StandInSource, subset: str, index: int, split: str = "train") -> Problem:
    return draw_problem(_rng(source, subset, index, "problem"), split, weights=source.level_weights)


def _changed(text: str, rng: Random) -> str:
    """The same problem in another spelling, as in sources of OpenR1-Math that repeat each other."""
    change = rng.choice(("none", "capitals", "dollars", "blanks", "prefix"))
    if change == "capitals":
        return text.upper()
    if change == "dollars":
        return " ".join(f"${word}$" if word.isdigit() else word for word in text.split(" "))
    if change == "blanks":
        return text.replace(" ", "  ") + "\n"
    return f"Task: {text}" if change == "prefix" else text


def _outcomes(bucket: str, count: int, rng: Random) -> list[bool]:
    """Which of `count` generations are right."""
    if bucket == "mixed" and count > 1:
        right = rng.randint(1, count - 1)
        outcomes = [True] * right + [False] * (count - right)
        rng.shuffle(outcomes)
        return outcomes
    return [bucket != "incorrect"] * count


def _generations(problem: Problem, outcomes: list[bool], rng: Random) -> list[str]:
    return [correct_generation(problem, rng) if right else wrong_generation(problem, rng) for right in outcomes]


def _columns(problem: Problem, outcomes: list[bool], rng: Random) -> dict[str, Any]:
    """An ordinary row: right generations are accepted, and the solution goes step by step."""
    generations = _generations(problem, outcomes, rng)
    return {
        "problem": problem.text,
        "solution": without_think_tags(correct_generation(problem, rng, worked=1.0)),
        "answer": problem.answer,
        "problem_type": rng.choice(PROBLEM_TYPES),
        "question_type": "math-word-problem",
        "source": f"synthetic_{problem.wording}",
        "is_reasoning_complete": [True] * len(generations),
        "generations": generations,
        "correctness_math_verify": list(outcomes),
        "correctness_llama": None,
        "finish_reasons": ["stop"] * len(generations),
    }


def _spoil(row: dict[str, Any], kind: str, problem: Problem, rng: Random) -> None:
    """Change an ordinary row into one of another kind."""
    count = len(row["generations"])
    if kind == "copy":
        row["problem"] = _changed(row["problem"], rng)
    elif kind == "no-answer":
        row["answer"] = rng.choice(NO_ANSWERS)
    elif kind == "other-question-type":
        row["question_type"] = rng.choice(("MCQ", "proof"))
    elif kind == "wrong-reference":
        row["solution"] = without_think_tags(wrong_generation(problem, rng))
        row["answer"] = extract_boxed(row["solution"])
        row["correctness_math_verify"] = [extract_boxed(text) == row["answer"] for text in row["generations"]]
        row["correctness_llama"] = [True] * count
    elif kind == "llama-only":
        row["correctness_llama"] = row["correctness_math_verify"]
        row["correctness_math_verify"] = [False] * count
    elif kind == "no-box":
        row["solution"] = row["solution"].replace("\\boxed", "")
        row["generations"] = [text.replace("\\boxed", "") for text in row["generations"]]
    elif kind == "missing-flags":
        row["correctness_math_verify"] = rng.choice((None, row["correctness_math_verify"][:1]))


def standin_row(source: StandInSource, subset: str, index: int) -> dict[str, Any]:
    """Row `index` of a subset, a function of the seed, the subset and the index alone."""
    rng = _rng(source, subset, index)
    kind = _choose(rng, KINDS)
    problem = _problem(source, subset, index)
    if kind == "copy":  # of the default subset, so that some duplicates cross the subsets
        problem = _problem(source, "default", rng.randrange(source.default_rows))
    if kind == "leak":
        problem = _problem(source, subset, index, split="held-out")
    count = 1 if kind == "one-generation" else rng.randint(2, 4)
    row = _columns(problem, _outcomes(_choose(rng, BUCKETS), count, rng), rng)
    _spoil(row, kind, problem, rng)
    row["uuid"] = str(UUID(bytes=digest(source.seed, "stand-in uuid", f"{subset}-{index}")))
    row["correctness_count"] = sum(row["correctness_math_verify"] or row["correctness_llama"] or ())
    row["messages"] = [
        {"content": row["problem"], "role": "user"},
        {"content": row["generations"][0], "role": "assistant"},
    ]
    return row


def write_standin(source: StandInSource, folder: Path) -> None:
    """Write both subsets as shards under `folder`; shards already there are replaced.

    With source.planted, the planted cases come after the other rows, and `folder`/planted.csv lists them.
    """
    cases = planted_cases(source.seed) if source.planted else []
    for subset, total in {"default": source.default_rows, "extended": source.extended_rows}.items():
        planted = [case.row for case in cases if case.subset == subset]
        rows = chain((standin_row(source, subset, index) for index in range(total)), planted)
        write_shards(rows, source.rows_per_shard, total + len(planted), folder / FOLDERS[subset])
    if cases:
        table = pd.DataFrame(
            [
                (case.row["uuid"], case.name, case.bucket, " ".join(sorted(case.reasons)), case.cluster)
                for case in cases
            ],
            columns=["uuid", "case", "bucket", "reasons", "cluster"],
        )
        table.to_csv(folder / "planted.csv", index=False)


def make_source(source: StandInSource, folder: Path, report: Report) -> None:
    """Write the stand-in under `folder`, and record its shards as for any other source."""
    report(f"writing {source.default_rows} + {source.extended_rows} synthetic rows in OpenR1-Math's schema")
    folder.mkdir(parents=True, exist_ok=True)
    write_standin(source, folder)
    record(source.model_dump(mode="json"), folder, folder, report)
