"""The power of the paired test: by arithmetic, and by simulated experiments with known variances."""

from __future__ import annotations

import itertools
import math
import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from report_inputs import small_catalogue, write_results

from egpo.analysis.power import Design, Parts, interval, parts_of, power, resampled, seeds_needed, smallest
from egpo.analysis.statistics import Difference, paired
from egpo.cli.main import main
from egpo.cli.power import SEEDS, Stated, run
from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.config.files import read_yaml
from egpo.config.loader import load
from egpo.report.figures.power import draw

REPEATS = 3000
GAINS = (0.0, 0.04, 0.08)


def simulated(
    rng: np.random.Generator, parts: Parts, design: Design, gain: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Answers of two methods that differ by `gain`, with normal effects of known variances."""
    shape = (design.seeds, design.questions, design.trials)
    shared, apart = rng.normal(0, 0.3, design.questions), rng.normal(0, math.sqrt(parts.question), design.questions)

    def model(shift: float, own: np.ndarray) -> np.ndarray:
        seeds = rng.normal(0, math.sqrt(parts.seed), (design.seeds, 1, 1))
        cross = rng.normal(0, math.sqrt(parts.cross), (*shape[:2], 1))
        return shift + seeds + (shared + own)[None, :, None] + cross + rng.normal(0, math.sqrt(parts.trial), shape)

    return model(gain, apart), model(0.0, np.zeros(design.questions))


PARTS = Parts(seed=0.02**2, question=0.15**2, cross=0.1**2, trial=0.16)
DESIGNS = [Design(1, 200, 4), Design(2, 60, 2), Design(3, 120, 2), Design(5, 120, 4), Design(12, 60, 2)]


@cache
def results(design: Design) -> list[Difference]:
    """What `paired` says of simulated experiments whose methods do not differ."""
    rng = np.random.default_rng(7)
    return [paired(*simulated(rng, PARTS, design)) for _ in range(REPEATS)]


@pytest.mark.parametrize("design", DESIGNS)
def test_the_power_is_that_of_simulated_experiments(design):
    """Within three standard errors of the simulation, at most 2.7 points, and nothing else."""
    for gain in GAINS:
        # A gain shifts the mean alone: it is found where the interval around the shifted mean is above 0.
        found = np.mean([one.low + gain > 0 or (one.high < 0 and gain == 0) for one in results(design)])
        expected = power(PARTS, design, gain)
        assert found == pytest.approx(expected, abs=3 * math.sqrt(expected * (1 - expected) / REPEATS)), gain


@pytest.mark.parametrize("design", DESIGNS[1:])
def test_intervals_cover_as_promised(design):
    covered = np.mean([one.low <= 0 <= one.high for one in results(design)])
    assert covered >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / REPEATS)


def test_a_gain_shifts_the_mean_alone():
    rng = np.random.default_rng(8)
    first, second = simulated(rng, PARTS, DESIGNS[1])
    one, other = paired(first, second), paired(first + 0.04, second)
    assert (other.mean, other.low, other.high) == pytest.approx((one.mean + 0.04, one.low + 0.04, one.high + 0.04))
    assert (other.p_value < 0.05) == (not other.low <= 0 <= other.high)


def test_the_parts_are_found_again():
    rng, design = np.random.default_rng(9), Design(6, 150, 4)
    found = [parts_of(*simulated(rng, PARTS, design)) for _ in range(60)]
    for name in ("seed", "question", "cross", "trial"):
        mean = np.mean([getattr(one, name) for one in found])
        assert mean == pytest.approx(getattr(PARTS, name), rel=0.12), name


def test_binary_answers_have_the_variance_of_their_rate():
    rng = np.random.default_rng(10)
    answers = rng.random((2, 400, 8)) < rng.beta(2, 2, 400)[None, :, None]
    found = parts_of(answers, rng.random((2, 400, 8)) < rng.beta(2, 2, 400)[None, :, None])
    assert found.trial == pytest.approx(0.2, abs=0.01)  # E[p (1 - p)] of Beta(2, 2)
    single = parts_of(answers[:, :, :1], answers[:, :, 1:2])
    assert single.trial == 0 and single.cross == pytest.approx(0.2, abs=0.03), "with one trial it is in `cross`"


VARIANCES = st.floats(0.0001, 0.05)


@given(VARIANCES, VARIANCES, VARIANCES, st.integers(2, 20), st.integers(30, 500), st.integers(1, 8))
def test_more_of_everything_finds_less(seed, question, cross, seeds, questions, trials):
    parts = Parts(seed, question, cross, 0.15)
    least = smallest(parts, Design(seeds, questions, trials))
    assume(math.isfinite(least))  # else the seeds differ by more than any gain
    assert power(parts, Design(seeds, questions, trials), least) == pytest.approx(0.8, abs=1e-6)
    assert smallest(parts, Design(seeds + 5, questions, trials)) <= 1.02 * least
    if seeds > 2:  # two have so few degrees of freedom that the questions' are missed
        assert smallest(parts, Design(seeds, 4 * questions, trials)) <= 1.02 * least


def test_one_training_seed_gives_false_alarms_about_methods():
    design = Design(1, 500, 8)
    assert power(PARTS, design, 0.0) > 0.15
    without = Parts(math.nan, PARTS.question, PARTS.cross, PARTS.trial)
    assert power(without, design, 0.0) == pytest.approx(0.05, abs=1e-3)


def test_seeds_for_a_gain():
    needed = seeds_needed(PARTS, 500, 8, 0.03)
    assert needed is not None and power(PARTS, Design(needed, 500, 8), 0.03) >= 0.8
    assert power(PARTS, Design(needed - 1, 500, 8), 0.03) < 0.8 or needed == 2
    assert seeds_needed(PARTS, 500, 8, 0.001) is None, "the questions themselves vary by more"


@pytest.mark.parametrize("seeds", [2, 4])
def test_the_intervals_of_what_is_needed_hold_the_truth_as_often_as_they_say(seeds):
    """Also with two seeds, whose resampling would say that they do not differ in every second case."""
    rng, repeats = np.random.default_rng(11), 120

    def variance(parts: Parts) -> float:
        """Of the difference, with 4 seeds, 80 questions and 2 trials: what decides how many seeds are needed."""
        return 2 * parts.seed / 4 + (parts.question + 2 * (parts.cross + parts.trial / 2) / 4) / 80

    held = 0
    for _ in range(repeats):
        low, high = interval(map(variance, resampled(*simulated(rng, PARTS, Design(seeds, 80, 2)))))
        held += low <= variance(PARTS) <= high
    assert held / repeats >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / repeats)


def test_where_seeds_differ_much_false_alarms_count_as_no_find():
    parts = Parts(0.5**2, 0.001, 0.0, 0.1)
    assert power(parts, Design(1, 500, 8), 0.0) > 0.9 and smallest(parts, Design(1, 500, 8)) > 0.5


def test_an_interval_holds_the_estimate_and_one_seed_says_nothing_about_seeds():
    rng = np.random.default_rng(11)
    first, second = simulated(rng, PARTS, Design(4, 80, 2))
    value = smallest(parts_of(first, second), Design(4, 80, 2))
    low, high = interval(smallest(one, Design(4, 80, 2)) for one in resampled(first, second))
    assert low < value < high
    assert math.isnan(parts_of(first[:1], second[:1]).seed)
    assert all(math.isnan(one.seed) for one in resampled(first[:1], second[:1]))
    with pytest.raises(ValueError, match="questions"):
        parts_of(first[:, :1], second[:, :1])


# --- the command -----------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A made-up experiment with records, in a folder of its own."""
    catalogue = small_catalogue()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("egpo.analysis.power.RESAMPLES", 40)
    write_results(catalogue)
    return catalogue


def rows_of(text: str, title: str) -> list[list[str]]:
    """The cells of the first table below a title, without its head."""
    lines = text.split(f"## {title}")[1].splitlines()[1:]
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_command_reads_records_and_says_what_more_seeds_would_find(made, capsys):
    assert run(made, 2.0, None, None, Stated()) == 0
    said = capsys.readouterr().out
    assert "EGPO against GRPO" in said and "From records of this experiment." in said
    gain = rows_of(said, "A gain of 2 points")
    assert len(gain) == 4 and all(re.fullmatch(r"\d+% \[\d+%, \d+%\]", cell) for row in gain for cell in row[2:4])
    assert all(re.fullmatch(r"(\d+|no number) \[(\d+|no number), (\d+|no number)\]", row[4]) for row in gain)
    least = pd.read_csv("results/made-up/power/power.csv")
    assert set(least["seeds"]) == set(SEEDS) and set(least["backbone"]) == {"tiny-math", "tiny-think"}
    assert {file.suffix for file in Path("results/made-up/power").iterdir()} == {".md", ".csv", ".png", ".pdf"}


def test_what_is_stated_stands_beside_what_is_recorded(made, capsys):
    """The intervals of the recorded parts stay, and the recorded seeds count where questions and trials are stated."""
    assert run(made, 2.0, None, None, Stated(sd_question=25.0, accuracy=70.0)) == 0
    said = capsys.readouterr().out
    assert "From records of this experiment and stated variances." in said
    for row in rows_of(said, "Where the variance comes from"):
        assert row[3] == "25.0 stated" and row[5] == "45.8 stated"
        assert all(re.fullmatch(r"[\d.]+ \[[\d.]+, [\d.]+\]", row[place]) for place in (2, 4))
    assert run(made, 2.0, None, None, Stated(sd_seed=3.0)) == 0
    said = capsys.readouterr().out
    assert {row[2] for row in rows_of(said, "Where the variance comes from")} == {"3.0 stated"}
    assert all("[" in cell for row in rows_of(said, "The smallest difference") for cell in row[3:])


def test_answers_that_do_not_vary_have_a_figure(tmp_path):
    """Where all are right there is no smallest difference, and a logarithmic axis has no number to begin with."""
    least = {
        "backbone": "b",
        "benchmark": "one",
        "seeds": [1, 2],
        "smallest": math.nan,
        "low": math.nan,
        "high": math.nan,
    }
    draw(pd.DataFrame(least), 2.0, {"one": "One"}, "", tmp_path)
    assert (tmp_path / "power.pdf").exists()


def test_mistakes_are_named_with_their_remedy(made):
    single = small_catalogue(methods=["egpo"], ablations=None)
    with pytest.raises(UserError, match="methods: there is none to compare egpo with: add one"):
        run(single, 2.0, None, None, Stated())
    with pytest.raises(UserError, match="--first and --second are both egpo"):
        run(made, 2.0, "egpo", "egpo", Stated())
    one = made.benchmarks["one"].model_copy(update={"num_questions": 1})
    short = made.model_copy(update={"benchmarks": {**made.benchmarks, "one": one}})
    for stated in (Stated(), Stated(1.0, 25.0, 70.0)):
        with pytest.raises(UserError, match=r"benchmarks: one has one question, .* take it out"):
            run(short, 2.0, None, None, stated)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--accuracy", "150", "not from 0 to 100 percent"),
        ("--accuracy", "0.7", "give percent, as 70 for 0.7"),
        ("--sd-seed", "-1", "not from 0 to 100 points"),
        ("--sd-question", "nan", "not from 0 to 100 points"),
        ("--gain", "0", "a gain of 0 points is none"),
        ("--gain", "two", "not from 0 to 100 points"),
    ],
)
def test_a_number_out_of_its_range_is_refused(option, value, words, capsys):
    with pytest.raises(SystemExit):
        main(["power", f"{option}={value}"])
    assert words in capsys.readouterr().err


def test_the_papers_own_claim_is_as_docs_power_says(capsys, tmp_path, monkeypatch):
    """+3.1 points with one training seed: each number of the worked example is in the page that its command prints."""
    catalogue = load(read_yaml(ROOT / "config" / "paper.yaml"), "config/paper.yaml")
    monkeypatch.chdir(tmp_path)
    assert run(catalogue, 3.1, "egpo", "grpo", Stated(sd_seed=1.0, sd_question=25.0, accuracy=70.0)) == 0
    said = capsys.readouterr().out
    assert "From stated variances." in said
    found = {row[1]: row for row in rows_of(said, "A gain of 3.1 points")}
    least = {row[1]: row for row in rows_of(said, "The smallest difference")}
    of = {name: [*found[name][2:], *least[name][2:4], least[name][-1]] for name in ("MATH-500", "GSM8K", "MMLU-STEM")}
    assert of["MATH-500"] == ["52%", "15%", "no number", "500", "4.7", "3.3"]
    assert [(of[name][2], of[name][3]) for name in ("GSM8K", "MMLU-STEM")] == [("5", "1319"), ("4", "3018")]
    text = " ".join((ROOT / "docs" / "power.md").read_text().split())
    for words in (
        "3.1 points is found in 52% of the cases, and 4.7 points are needed",
        "found to differ in 15% of the cases",
        "even with 32 of each method 3.3 points are needed",
        "GSM8K (1,319 questions) finds 3.1 points with 5 seeds, MMLU-STEM (3,018) with 4",
    ):
        assert words in text


def test_without_records_the_variances_are_to_be_stated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="state --accuracy and --sd-question"):
        run(small_catalogue(), 2.0, None, None, Stated(sd_seed=1.0))
    with pytest.raises(UserError, match="c9: is no method"):
        run(small_catalogue(), 2.0, "c9", None, Stated())
