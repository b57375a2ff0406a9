"""The answer checker on real answers: which rewritings it finds, by kind, and what a comparison costs.

    make bench-answers

Writes results/bench/answers.md. Needs the real answers in ../shared/real.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
from math_verify import parse, verify

from egpo.common.answer_text import read_answer
from egpo.common.answers import _parsed_within, answers_equivalent, extract_boxed
from egpo.common.paths import ROOT

sys.path.insert(0, str(ROOT / "tests"))
from answer_variants import REAL, Pair, equal_pairs, references, unequal_pairs

OUT = ROOT / "results" / "bench" / "answers.md"


def by_kind(pairs: list[Pair]) -> tuple[Counter[str], Counter[str]]:
    """(number of pairs, number judged to be the same answer), by kind."""
    same = Counter(pair.kind for pair in pairs if answers_equivalent(pair.variant, pair.reference))
    return Counter(pair.kind for pair in pairs), same


def model_answers() -> list[tuple[str, str]]:
    """(answer, reference) of the 1,000 model answers to MATH-500, where there is a box."""
    pairs = []
    for name in ("gpt", "qwen3"):
        for row in json.loads((REAL / "answers" / f"math500_{name}_answers.json").read_text()):
            box = extract_boxed(row["prediction"])
            if box is not None:
                pairs.append((box, row["answer"]))
    return pairs


def plainly(candidate: str, truth: str) -> bool:
    """math-verify with its defaults."""
    return verify(parse(rf"\boxed{{{truth}}}"), parse(rf"\boxed{{{candidate}}}"))


def microseconds(compare: Callable[[str, str], bool], pairs: Iterable[tuple[str, str]]) -> np.ndarray:
    """(n,) time of each comparison, without what is cached of an earlier one."""
    times = []
    for pair in pairs:
        read_answer.cache_clear()
        _parsed_within.cache_clear()
        start = time.perf_counter()
        compare(*pair)
        times.append(time.perf_counter() - start)
    return np.array(times) * 1e6


def lines() -> Iterable[str]:
    known = [reference for reference in references() if reference]
    digits = random.Random(0)
    tables = {
        "the same value": [pair for reference in known for pair in equal_pairs(reference)],
        "another value": [pair for reference in known for pair in unequal_pairs(reference, digits)],
    }
    yield f"{len(known)} real references (MATH-500, AIME24, Minerva, GSM8K), rewritten (seed 0):\n"
    yield "| rewriting | kind | pairs | judged the same |\n| --- | --- | ---: | ---: |"
    for title, pairs in tables.items():
        total, same = by_kind(pairs)
        for kind in sorted(total):
            yield f"| {title} | {kind} | {total[kind]:,} | {same[kind]:,} |"
        share = same.total() / total.total()
        yield f"| {title} | **all** | {total.total():,} | {same.total():,} ({share:.2%}) |"
    answers = model_answers()
    answers_equivalent("x", "y+1")  # the first comparison imports and compiles
    yield f"\nOne comparison of {len(answers)} model answers to MATH-500, in microseconds, one process:\n"
    yield "| | median | 99th percentile | sum, in s |\n| --- | ---: | ---: | ---: |"
    for name, compare in (("egpo", answers_equivalent), ("math-verify, called plainly", plainly)):
        taken = microseconds(compare, answers)
        yield f"| {name} | {np.median(taken):,.0f} | {np.percentile(taken, 99):,.0f} | {taken.sum() / 1e6:.1f} |"


def main() -> None:
    if not REAL.is_dir():
        sys.exit(f"bench-answers: there is no {REAL.relative_to(ROOT.parent)} beside the repository")
    text = "\n".join(lines()) + "\n"
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
