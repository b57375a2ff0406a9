"""The audit of the paper's printed numbers."""

from __future__ import annotations

import copy
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egpo.analysis.audit import audit, is_multiple
from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.config.files import read_yaml
from egpo.report.tables.audit import write_audit

PAPER = ROOT / "config" / "paper-numbers.yaml"
NUMBERS = read_yaml(PAPER)


def verdicts(numbers: dict) -> dict[tuple[str, str], str]:
    found = audit(numbers)
    assert len({(one.where, one.says) for one in found}) == len(found)
    return {(one.where, one.says): one.verdict for one in found}


# As in the list of errors that came with the paper's text: F1 to F8, F10, F11, F13.
WRONG = {
    ("Table 2", "egpo: average 65.97"): "fails",
    ("4.3.3", "c5 does not have a higher average than egpo"): "fails",
    ("Tables 1 and 2", "qwen2.5-math-1.5b, egpo, math_500: the same in both tables"): "fails",
    ("Tables 1 and 2", "qwen2.5-math-1.5b, egpo, gsm8k: the same in both tables"): "fails",
    ("4.3.3", "egpo is below c5 on gsm8k"): "fails",
    ("Tables 1 and 2", "no ablation is above Table 1's egpo on gsm8k"): "fails",
    ("Tables 1 and 2", "no ablation is above Table 1's egpo on math_500"): "fails",
    ("Eq. (25)", "the sign is +"): "fails",
    ("Figure 3", "egpo: gap 0.048"): "rounding",
    ("4.2", "margins over the best baseline are larger for deepseek-r1-7b than for deepseek-r1-1.5b"): "fails",
    ("4.1", "means of 8 trials (Table 1 without mmlu_stem)"): "fails",
    ("Table 1", "deepseek-r1-7b, grpo, minerva: 78.67 is a mean of 8 trials of 272 questions"): "fails",
    ("Table 2", "qwen2.5-math-1.5b, c4, minerva: 34.61 is a mean of 8 trials of 272 questions"): "fails",
    ("4.2", "deepseek-r1-1.5b: held to a context of 4096 on AIME24"): "fails",
    ("4.2", "deepseek-r1-7b: held to a context of 4096 on AIME24"): "fails",
}


def test_it_finds_the_known_errors_and_nothing_else():
    found = verdicts(NUMBERS)
    assert {key: verdict for key, verdict in found.items() if verdict != "holds"} == WRONG
    assert sum(where == "Table 1" and verdict == "holds" for (where, _), verdict in found.items()) == 80
    assert (
        sum(where == "Table 2" and "average" in says and verdict == "holds" for (where, says), verdict in found.items())
        == 7
    )


def changed(*path: str | int, value: object) -> dict:
    numbers = copy.deepcopy(NUMBERS)
    node = numbers
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return numbers


def claim(**wanted: object) -> int:
    """Place of the one claim of the text that has these values."""
    (place,) = [n for n, one in enumerate(NUMBERS["text"]) if wanted.items() <= one.items()]
    return place


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        (("table2", "egpo", "average"), 64.99, ("Table 2", "egpo: average 64.99")),
        (("signs", 25), -1, ("Eq. (25)", "the sign is -")),
        (("figure3", "egpo", "gap"), 0.049, ("Figure 3", "egpo: gap 0.049")),
        (("table2", "c5", "gsm8k"), 81.5, ("4.3.3", "egpo is below c5 on gsm8k")),
        (("table2", "egpo", "gsm8k"), 83.2, ("4.3.3", "c5 does not have a higher average than egpo")),
        (
            ("table1", "deepseek-r1-7b", "egpo", "gsm8k"),
            95.0,
            ("4.2", "margins over the best baseline are larger for deepseek-r1-7b than for deepseek-r1-1.5b"),
        ),
    ],
)
def test_a_corrected_number_passes(path, value, key):
    assert verdicts(changed(*path, value=value))[key] == "holds"


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        (
            ("table1", "qwen2.5-math-7b", "dapo_delta", "gsm8k"),
            5.98,
            ("Table 1", "qwen2.5-math-7b, dapo, gsm8k: +5.98"),
        ),
        (("table2", "c2", "average"), 59.72, ("Table 2", "c2: average 59.72")),
        (
            ("table2", "base", "minerva"),
            19.85,
            ("Tables 1 and 2", "qwen2.5-math-1.5b, base, minerva: the same in both tables"),
        ),
        (("signs", 15), 1, ("Eq. (15)", "the sign is +")),
        (("signs", 24), -1, ("Eq. (24)", "the sign is -")),
        (("figure3", "egpo", "gap"), 0.06, ("Figure 3", "egpo: gap 0.06")),
        (("figure3", "base", "gap"), 0.02, ("4.4", "the order is reversed for base")),
        (("figure3", "dapo", "gap"), 0.05, ("4.4", "egpo has the largest gap")),
        (
            ("table3", "deepseek-r1-7b", "answer_entropy"),
            0.69,
            ("4.5, Table 3", "deepseek-r1-7b: answer entropy predicts better"),
        ),
        (
            ("table1", "qwen2.5-math-7b", "base", "aime24"),
            3.34,
            ("Table 1", "qwen2.5-math-7b, base, aime24: 3.34 is a mean of 8 trials of 30 questions"),
        ),
        (
            ("text", claim(where="A.3", kind="best_on", backbone="qwen2.5-math-1.5b"), "printed"),
            5,
            ("A.3", "qwen2.5-math-1.5b: egpo is the best on 5 of 5 benchmarks"),
        ),
        (
            ("text", claim(where="A.3", kind="gain", backbone="qwen2.5-math-7b", benchmark="gsm8k"), "named"),
            ["grpo"],
            ("A.3", "qwen2.5-math-7b, gsm8k: egpo +3.41 over grpo"),
        ),
        (("text", claim(kind="question"), "printed"), 3.34, ("A.3", "one question of aime24 is 3.34 points")),
        (("table2", "c6", "minerva"), 38, ("4.3.3", "c6 is below egpo on math_500, minerva, gsm8k")),
    ],
)
def test_a_changed_number_is_flagged(path, value, key):
    assert verdicts(changed(*path, value=value))[key] == "fails"


@pytest.mark.parametrize("change", [{"kind": "guess"}, {"backbone": "qwen3"}])
def test_a_claim_about_what_is_not_there_is_named(change):
    numbers = changed("text", 0, value={**NUMBERS["text"][0], **change})
    with pytest.raises(UserError, match=r"paper-numbers\.yaml: text, entry 1: there is no '(guess|qwen3)'"):
        audit(numbers)


@given(st.integers(1, 2500), st.integers(0, 10_000))
def test_multiples_are_what_some_count_rounds_to(of, hundredths):
    near = [Fraction(100 * count, of) for count in range(of * hundredths // 10_000, of * hundredths // 10_000 + 2)]
    expected = any(abs(value - Fraction(hundredths, 100)) <= Fraction(1, 200) for value in near)
    assert is_multiple(hundredths / 100, of) == expected


def test_the_page_shows_the_arithmetic(tmp_path):
    write_audit(PAPER, tmp_path)
    page = (tmp_path / "audit.md").read_text()
    assert "(76.4 + 37.13 + 81.43) / 3 = 64.9867" in page
    assert page.index("egpo: average 65.97") < page.index("<summary>Follows from the printed numbers")
    assert len((tmp_path / "audit.csv").read_text().splitlines()) == 159
