"""The power of the paired test: by arithmetic, and by simulated experiments with known variances."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from report_inputs import small_catalogue, write_results

from egpo.analysis.power import Design, Parts, parts_of, power, resampled, seeds_needed, smallest
from egpo.analysis.statistics import paired
from egpo.cli.power import SEEDS, Stated, run
from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.config.files import read_yaml
from egpo.config.loader import load

REPEATS = 250


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
DESIGNS = [Design(1, 200, 4), Design(3, 120, 2), Design(5, 120, 4), Design(12, 60, 2)]


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("gain", [0.0, 0.04, 0.08])
def test_the_power_is_that_of_simulated_experiments(design, gain):
    rng = np.random.default_rng(7)
    found = np.mean([paired(*simulated(rng, PARTS, design, gain)).p_value < 0.05 for _ in range(REPEATS)])
    expected = power(PARTS, design, gain)
    # Three standard errors of the simulation, and 4 points: with 3 seeds a component is often cut at 0.
    error = 3 * math.sqrt(expected * (1 - expected) / REPEATS) + (0.04 if design.seeds <= 3 else 0.02)
    assert found == pytest.approx(expected, abs=error)


@pytest.mark.parametrize("design", DESIGNS[1:])
def test_intervals_cover_as_promised(design):
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(REPEATS):
        result = paired(*simulated(rng, PARTS, design, 0.05))
        covered += result.low <= 0.05 <= result.high
    assert covered / REPEATS >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / REPEATS) - 0.01


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
    for more in (Design(seeds + 5, questions, trials), Design(seeds, 4 * questions, trials)):
        assert smallest(parts, more) <= 1.05 * least  # with 2 seeds, fewer degrees of freedom can cost a little


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


def test_an_interval_holds_the_estimate_and_one_seed_says_nothing_about_seeds():
    rng = np.random.default_rng(11)
    first, second = simulated(rng, PARTS, Design(4, 80, 2))
    value = smallest(parts_of(first, second), Design(4, 80, 2))
    low, high = resampled(first, second, lambda parts: smallest(parts, Design(4, 80, 2)))
    assert low < value < high
    assert math.isnan(parts_of(first[:1], second[:1]).seed)
    with pytest.raises(ValueError, match="questions"):
        parts_of(first[:, :1], second[:, :1])


# --- the command -----------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A made-up experiment with records, in a folder of its own."""
    catalogue = small_catalogue()
    monkeypatch.chdir(tmp_path)
    write_results(catalogue)
    return catalogue


def test_the_command_reads_records_and_says_what_more_seeds_would_find(made, capsys):
    assert run(made, 2.0, None, None, Stated()) == 0
    said = capsys.readouterr().out
    assert "EGPO against GRPO" in said and "From records of this experiment" in said
    assert "## A gain of 2 points" in said and "seeds needed" in said
    least = pd.read_csv("results/made-up/power/power.csv")
    assert set(least["seeds"]) == set(SEEDS) and set(least["backbone"]) == {"tiny-math", "tiny-think"}
    assert {file.suffix for file in Path("results/made-up/power").iterdir()} == {".md", ".csv", ".png", ".pdf"}


def test_the_papers_own_claim_from_stated_variances(capsys, tmp_path, monkeypatch):
    """docs/power.md: +3.1 points with one training seed and 500 questions."""
    catalogue = load(read_yaml(ROOT / "config" / "paper.yaml"), "config/paper.yaml")
    monkeypatch.chdir(tmp_path)
    assert run(catalogue, 3.1, "egpo", "grpo", Stated(sd_seed=1.0, sd_question=25.0, accuracy=70.0)) == 0
    assert "From stated variances" in capsys.readouterr().out


def test_without_records_the_variances_are_to_be_stated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="state --accuracy and --sd-question"):
        run(small_catalogue(), 2.0, None, None, Stated(sd_seed=1.0))
    with pytest.raises(UserError, match="c9: is no method"):
        run(small_catalogue(), 2.0, "c9", None, Stated())
