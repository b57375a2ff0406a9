"""Synthetic benchmarks: held-out sums in the file formats that evalscope reads for the five real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egpo.common.errors import UserError
from egpo.common.files import write_text
from egpo.common.hashing import generator
from egpo.config.benchmarks import Benchmark, SyntheticBenchmark
from egpo.synthetic.choices import options
from egpo.synthetic.problems import LEVELS, Problem, draw_problem

ATTEMPTS = 1000  # draws until a text differs from those of all earlier items
SHOTS = 5  # worked examples of each subject that the real MMLU has


def _reasoning(problem: Problem) -> str:
    return " + ".join(map(str, problem.terms)) + f" = {problem.answer}"


def _gsm8k(problem: Problem, index: int, subject: str) -> dict[str, Any]:
    return {"question": problem.text, "answer": f"{_reasoning(problem)}\n#### {problem.answer}"}


def _math_500(problem: Problem, index: int, subject: str) -> dict[str, Any]:
    return {
        "problem": problem.text,
        "solution": f"${_reasoning(problem)}$, so the answer is $\\boxed{{{problem.answer}}}$.",
        "answer": problem.answer,
        "subject": "Sums",
        "level": problem.level,
        "unique_id": f"synthetic/{index}.json",
    }


def _aime24(problem: Problem, index: int, subject: str) -> dict[str, Any]:
    return {"id": index, "problem": problem.text, "answer": problem.answer}


def _minerva(problem: Problem, index: int, subject: str) -> dict[str, Any]:
    solution = f"${_reasoning(problem)}$, so the answer is $\\boxed{{{problem.answer}}}$."
    return {"problem": problem.text, "solution": solution, "type": "Sums", "idx": index}


def _mmlu(problem: Problem, index: int, subject: str) -> dict[str, Any]:
    choices, place = options(problem)
    return {"question": problem.text, "subject": subject, "choices": choices, "answer": place}


@dataclass(frozen=True)
class Format:
    """What evalscope reads: how a row is made, the configuration, the splits of the questions and of the examples."""

    row: Callable[[Problem, int, str], dict[str, Any]]
    configuration: str
    questions: str
    examples: str | None = None


FORMATS: dict[str, Format] = {
    "gsm8k": Format(_gsm8k, "main", "test", "train"),
    "math_500": Format(_math_500, "default", "test"),
    "aime24": Format(_aime24, "default", "test"),
    "minerva_math": Format(_minerva, "default", "train"),
    "mmlu": Format(_mmlu, "all", "test", "dev"),
}


def draw_items(source: SyntheticBenchmark, count: int) -> list[Problem]:
    """`count` held-out problems of distinct texts, from each level in turn.

    Each depends on the seed and its index; it is drawn again while an earlier one has its text.

    Raises:
        UserError: if the templates do not give as many different texts.
    """
    problems: dict[str, Problem] = {}
    for index in range(count):
        for attempt in range(ATTEMPTS):
            rng = generator(source.seed, "benchmark", f"{source.templates}/{index}/{attempt}")
            problem = draw_problem(rng, "held-out", source.templates, LEVELS[index % len(LEVELS)])
            if problem.text not in problems:
                problems[problem.text] = problem
                break
        else:
            raise UserError(
                f"num_questions: '{source.templates}' do not give {count} different problems, "
                f"only about {index}: lower the number of items."
            )
    return list(problems.values())


def write_benchmark(benchmark: Benchmark, folder: Path) -> None:
    """Write a synthetic benchmark into `folder`: a JSON-lines file per split, README.md last.

    The README's front matter names configuration and splits, which evalscope needs.

    Raises:
        UserError: for an adapter whose format is not known here.
    """
    source = benchmark.source
    if not isinstance(source, SyntheticBenchmark):
        raise ValueError(f"{benchmark.label} is not a synthetic benchmark")
    where = f"config/benchmarks.yaml: {folder.name}"
    if benchmark.adapter not in FORMATS:
        raise UserError(
            f"{where}.adapter: no synthetic problems in the format of '{benchmark.adapter}'. "
            f"Possible: {', '.join(FORMATS)}."
        )
    form = FORMATS[benchmark.adapter]
    subjects = benchmark.subsets or ("sums",)
    try:
        problems = draw_items(source, benchmark.num_questions + SHOTS * len(subjects))
    except UserError as error:
        raise UserError(f"{where}.{error}") from None
    parts = {form.questions: problems[: benchmark.num_questions]}
    if form.examples is not None:
        parts[form.examples] = problems[benchmark.num_questions :]
    for split, part in parts.items():
        rows = [form.row(problem, index, subjects[index % len(subjects)]) for index, problem in enumerate(part)]
        write_text(folder / f"{split}.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    files = "".join(f"  - split: {split}\n    path: {split}.jsonl\n" for split in parts)
    write_text(
        folder / "README.md",
        f"---\nconfigs:\n- config_name: {form.configuration}\n  data_files:\n{files}---\n"
        f"Synthetic problems in the format of {benchmark.adapter}, made from the seed {source.seed}.\n",
    )
