"""workflow/real_problems.py: what `make demo-real` takes from a folder, and the worked lines that it finds."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from egpo.common.paths import ROOT

sys.path.append(str(ROOT / "workflow"))

import real_problems
from worked_line import worked_line

NUMBERS = st.integers(0, 999)


@pytest.mark.parametrize(
    "problem, answer, line",
    [
        ("Joan found 70 seashells and has 27 left. How many did she give away?", "43", "70 - 27 = 43"),
        ("There are 1,200 lambs in 12 fields of 3 acres. How many in each field?", "100", "1,200 / 12 = 100"),
        ("She drank 0.5 and 0.1 of a carton.", "0.6", "0.5 + 0.1 = 0.6"),
        ("He has 2 pens and buys 2 more pens. How many has he?", "4", None),  # a number that is there once
        ("He has 2 pens, 3 books and buys 1 book: 2 + 1, or 3 * 1?", "3", None),  # two operations
        ("Nothing can be done with 7 alone.", "49", None),
        ("5 and 0: no division", "7", None),
        ("5 and 3", "eight", None),
    ],
)
def test_a_worked_line_is_the_only_operation_that_gives_the_answer(problem, answer, line):
    assert worked_line(problem, answer) == line


@given(NUMBERS, NUMBERS, st.sampled_from("+-*/"))
def test_a_worked_line_is_right(one, other, sign):
    assume(sign != "/" or other)
    value = eval(f"Fraction({one}) {sign} Fraction({other})")
    assume(value.denominator == 1 and value >= 0)
    line = worked_line(f"First {one}, then {other}.", str(value))
    if line is not None:
        said, _, result = line.partition(" = ")
        left, mark, right = said.split()
        assert Fraction(result) == value == eval(f"Fraction({left}) {mark} Fraction({right})")


def test_no_problem_is_both_taught_and_trained_on():
    sums = [(one, other) for one in range(2, 45) for other in range(one + 1, 50)]
    rows: list[dict[str, Any]] = [{"problem": f"Add {a} to {b}.", "answer": str(a + b)} for a, b in sums]
    rows += [{"problem": f"Nothing but {n}", "answer": "7"} for n in range(8, 2000)]
    rows += [{"problem": f"Add {n} to 500.", "answer": str(n + 500)} for n in range(100)]
    worked, rest = real_problems.divided(rows)
    left = len(sums) - real_problems.WORKED_ROWS
    assert len(worked) == real_problems.WORKED_ROWS
    assert len(rest) == left + round(real_problems.HARD_SHARE * left)
    assert not {row["problem"] for row in worked} & {row["problem"] for row in rest}
    assert all("solution" not in row for row in rest) and not any("500" in row["problem"] for row in worked + rest)


def test_rows_are_taken_by_their_text_in_any_order():
    part = real_problems.Set("file.jsonl", "owner/name", "test", "main", rows=2, each="kind")
    rows = [{"problem": f"problem {n}", "kind": n % 3} for n in range(30)]
    taken = real_problems.taken(rows, part)
    assert [row["kind"] for row in taken].count(1) == 2 and len(taken) == 6
    assert real_problems.taken(rows[::-1], part) == taken


def test_a_folder_without_the_files_is_named(tmp_path: Path):
    script = [sys.executable, "workflow/real_problems.py", str(tmp_path)]
    run = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert "mawps.jsonl" in run.stderr and "make demo-real" in run.stderr


@pytest.mark.real
def test_most_real_problems_with_one_operation_have_a_line(real):
    rows = [json.loads(text) for text in (real / "problems" / "mawps.jsonl").read_text().split("\n") if text]
    lines = [worked_line(row["problem"], row["answer"]) for row in rows]
    assert sum(line is not None for line in lines) > len(rows) / 2
