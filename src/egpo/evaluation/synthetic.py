"""Synthetic benchmarks: held-out sums in the file formats that evalscope reads for GSM8K and MATH-500."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from egpo.config import Benchmark, SyntheticBenchmark
from egpo.data.keyed import generator
from egpo.data.problems import LEVELS, Problem, draw_problem
from egpo.errors import UserError
from egpo.files import write_text

EXAMPLES = 8  # of the train split, which worked examples in prompts come from
ATTEMPTS = 1000  # draws for a text that no earlier item has


def _gsm8k(problem: Problem, index: int) -> dict[str, Any]:
    reasoning = " + ".join(map(str, problem.terms)) + f" = {problem.answer}"
    return {"question": problem.text, "answer": f"{reasoning}\n#### {problem.answer}"}


def _math_500(problem: Problem, index: int) -> dict[str, Any]:
    reasoning = " + ".join(map(str, problem.terms)) + f" = {problem.answer}"
    return {
        "problem": problem.text,
        "solution": f"${reasoning}$, so the answer is $\\boxed{{{problem.answer}}}$.",
        "answer": problem.answer,
        "subject": "Sums",
        "level": problem.level,
        "unique_id": f"synthetic/{index}.json",
    }


Row = Callable[[Problem, int], dict[str, Any]]
# evalscope's name: (row of a problem, name of the dataset's configuration, splits)
FORMATS: dict[str, tuple[Row, str, tuple[str, ...]]] = {
    "gsm8k": (_gsm8k, "main", ("test", "train")),
    "math_500": (_math_500, "default", ("test",)),
}


def draw_items(source: SyntheticBenchmark, count: int) -> list[Problem]:
    """`count` held-out problems of distinct texts, the levels taking turns.

    Each depends on the seed and its index; an index tries again while its text is taken. Raises
    UserError when the templates do not give so many texts.
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
                f"config/benchmarks.yaml: items: '{source.templates}' do not give {count} different problems, only "
                f"about {index}: lower the number of items."
            )
    return list(problems.values())


def write_benchmark(benchmark: Benchmark, folder: Path) -> None:
    """Write a synthetic benchmark into `folder`: a JSON-lines file per split, README.md last.

    The README's front matter names configuration and splits, which evalscope needs. Raises UserError
    for an adapter whose format is not known here.
    """
    source = benchmark.source
    if not isinstance(source, SyntheticBenchmark):
        raise ValueError(f"{benchmark.label} is no synthetic benchmark")
    if benchmark.adapter not in FORMATS:
        raise UserError(
            f"config/benchmarks.yaml: adapter: no synthetic problems in the format of '{benchmark.adapter}'. "
            f"Possible: {', '.join(FORMATS)}."
        )
    row, configuration, splits = FORMATS[benchmark.adapter]
    problems = draw_items(source, benchmark.items + EXAMPLES)
    parts = {"test": problems[: benchmark.items], "train": problems[benchmark.items :]}
    for split in splits:
        lines = [json.dumps(row(problem, index), ensure_ascii=False) for index, problem in enumerate(parts[split])]
        write_text(folder / f"{split}.jsonl", "\n".join(lines) + "\n")
    files = "".join(f"  - split: {split}\n    path: {split}.jsonl\n" for split in splits)
    write_text(
        folder / "README.md",
        f"---\nconfigs:\n- config_name: {configuration}\n  data_files:\n{files}---\n"
        f"Synthetic problems in the format of {benchmark.adapter}, made from the seed {source.seed}.\n",
    )
