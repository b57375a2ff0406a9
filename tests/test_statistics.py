"""Statistics of right and wrong answers: known values, other implementations, simulations of known truth."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.multitest import multipletests

from egpo.analysis.statistics import (
    accuracy,
    clustered_se,
    holm,
    interval,
    length_quantiles,
    majority_at_k,
    paired,
    pass_at_k,
    sd_over_trials,
    smallest_difference,
    spread,
    standard_error,
)

SMALL = arrays(bool, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5))


def answers_of(seed: int, shape: tuple[int, int, int], seed_sd: float = 0.0) -> np.ndarray:
    """Answers to questions of unequal difficulty by models that differ by seed_sd (probits)."""
    rng = np.random.default_rng(seed)
    return simulated(rng, rng.standard_normal((1, shape[1], 1)), shape[0], shape[2], seed_sd)


def simulated(rng: np.random.Generator, question: np.ndarray, seeds: int, trials: int, seed_sd: float) -> np.ndarray:
    """Booleans (seeds, questions, trials) from a crossed random-effects probit; the true accuracy is 1/2."""
    probit = question + seed_sd * rng.standard_normal((seeds, 1, 1))
    probit = probit + 0.4 * rng.standard_normal((seeds, question.shape[1], 1))
    return rng.random((seeds, question.shape[1], trials)) < stats.norm.cdf(probit)


def plausible(hits: int, draws: int, share: float, alternative: str = "two-sided") -> bool:
    """Whether a binomial test at 0.1% accepts that `hits` of `draws` came with this probability."""
    return stats.binomtest(hits, draws, share, alternative).pvalue > 0.001


# --- standard error ------------------------------------------------------------------------------


@pytest.mark.parametrize(("correction", "factor"), [(True, 1.0), (False, (39 / 40) ** 0.5)])
def test_clustered_se_is_that_of_statsmodels_with_its_small_sample_factor(correction, factor):
    correct = answers_of(1, (2, 40, 4))
    question = np.broadcast_to(np.arange(40)[None, :, None], correct.shape).ravel()
    model = sm.OLS(correct.ravel().astype(float), np.ones(correct.size))
    fit = model.fit(cov_type="cluster", cov_kwds={"groups": question, "use_correction": correction})
    assert fit.bse[0] == pytest.approx(factor * clustered_se(correct))


def test_standard_error_of_several_seeds_by_hand():
    # Two seeds, two questions, one trial. Seeds' means: 1 and 1/2; questions' means: 1 and 1/2.
    # Residuals +-1/4, so the residual mean square is 1/4; that of the seeds is 2 x 1/8 = 1/4: they add nothing.
    equal = np.array([[[1], [1]], [[1], [0]]], dtype=bool)
    assert standard_error(equal) == pytest.approx(clustered_se(equal)) == pytest.approx(0.25)
    # Seeds' means: 1 and 0, no residual: only the seeds, var 1/2 over 2.
    apart = np.array([[[1], [1]], [[0], [0]]], dtype=bool)
    assert clustered_se(apart) == 0
    assert standard_error(apart) == pytest.approx(0.5)
    assert np.isnan(standard_error(apart[:, :1]))


def test_standard_error_has_the_mean_squares_of_statsmodels_anova():
    correct = answers_of(2, (4, 25, 3), seed_sd=0.5)
    seed, question = np.indices((4, 25))
    table = pd.DataFrame({"y": correct.mean(2).ravel(), "seed": seed.ravel(), "question": question.ravel()})
    square = sm.stats.anova_lm(ols("y ~ C(seed) + C(question)", table).fit())["mean_sq"]
    assert square["C(seed)"] > square["Residual"]
    expected = (square["C(seed)"] + square["C(question)"] - square["Residual"]) / 100
    assert standard_error(correct) ** 2 == pytest.approx(expected)


@pytest.mark.parametrize(("seeds", "seed_sd"), [(1, 0.0), (4, 0.5)])
def test_squared_standard_error_is_the_variance_of_the_accuracy(seeds, seed_sd):
    rng = np.random.default_rng(3)
    runs = [simulated(rng, rng.standard_normal((1, 40, 1)), seeds, 2, seed_sd) for _ in range(2000)]
    true = np.var([accuracy(run) for run in runs], ddof=1)
    # The relative error of a variance from 2,000 draws is (2 / 2000)^(1/2), 3%; of the mean of the estimates less.
    assert np.mean([standard_error(run) ** 2 for run in runs]) == pytest.approx(true, rel=0.12)


# --- interval ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seeds", "questions", "seed_sd"), [(1, 60, 0.0), (8, 60, 0.3)])
def test_interval_covers_the_true_accuracy(seeds, questions, seed_sd):
    rng = np.random.default_rng(4)
    covered = 0
    for run in range(300):
        correct = simulated(rng, rng.standard_normal((1, questions, 1)), seeds, 4, seed_sd)
        low, high = interval(correct, resamples=300, seed=run)
        covered += low <= 0.5 <= high
    assert plausible(covered, 300, 0.95)


def test_interval_over_three_seeds_that_differ_much_is_too_narrow_as_documented():
    # It comes near the lowest and highest seed, and the truth is outside of three draws in 2 of 8 cases.
    rng = np.random.default_rng(4)
    covered = 0
    for run in range(300):
        correct = simulated(rng, rng.standard_normal((1, 400, 1)), 3, 2, 0.5)
        low, high = interval(correct, resamples=300, seed=run)
        covered += low <= 0.5 <= high
    assert plausible(covered, 300, 0.75, "less")
    assert not plausible(covered, 300, 0.95)


def test_interval_is_repeatable_and_widens_with_the_level_and_with_the_spread_of_seeds():
    correct = answers_of(5, (1, 50, 4))
    assert interval(correct, resamples=500, seed=1) == interval(correct, resamples=500, seed=1)
    assert interval(correct, resamples=500, seed=1) != interval(correct, resamples=500, seed=2)
    low, high = interval(correct, seed=1)
    wide_low, wide_high = interval(correct, level=0.99, seed=1)
    assert 0 <= wide_low < low < accuracy(correct) < high < wide_high <= 1
    assert high - low == pytest.approx(2 * 1.96 * clustered_se(correct), rel=0.05)
    copies = np.repeat(correct, 4, axis=0)  # models without any difference: only the questions are drawn
    assert interval(copies) == pytest.approx((low, high), abs=0.01)
    apart = np.stack([correct[0] & False, correct[0] | True])
    assert interval(apart) == (0, 1)


@pytest.mark.parametrize("correct", [np.ones((1, 5, 2), bool), np.zeros((3, 5, 2), bool), answers_of(1, (3, 1, 4))])
def test_interval_of_what_does_not_vary_is_undecided(correct):
    assert np.isnan(interval(correct)).all()


# --- two models ----------------------------------------------------------------------------------


def test_paired_is_scipys_paired_t_test_for_one_seed():
    first, second = answers_of(6, (1, 30, 8)), answers_of(7, (1, 30, 4))
    result = paired(first, second, level=0.9)
    expected = stats.ttest_rel(first.mean((0, 2)), second.mean((0, 2)))
    low, high = expected.confidence_interval(0.9)
    assert result.mean == pytest.approx(accuracy(first) - accuracy(second))
    assert result.se == pytest.approx(result.mean / expected.statistic)
    assert (result.low, result.high, result.p_value) == pytest.approx((low, high, expected.pvalue))
    assert result.degrees == pytest.approx(29)


def test_paired_is_welchs_test_on_the_seeds_means_where_questions_are_alike():
    def model(*shares: int) -> np.ndarray:
        """One seed for each share of right answers in 8, the same for all 20 questions."""
        return np.stack([np.tile(np.arange(8) < share, (20, 1)) for share in shares])

    first, second = model(6, 7, 5), model(3, 4, 2, 5)
    result = paired(first, second)
    expected = stats.ttest_ind(first.mean((1, 2)), second.mean((1, 2)), equal_var=False)
    assert (result.p_value, result.degrees) == pytest.approx((expected.pvalue, expected.df))
    assert (result.low, result.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_paired_takes_seeds_as_units_and_an_untrained_base_as_it_is():
    base = answers_of(8, (1, 200, 4))
    method = answers_of(8, (3, 200, 4), seed_sd=0.5)
    one, three = paired(method[:1], base), paired(method, base)
    assert one.degrees == pytest.approx(199)
    assert three.degrees < 10
    assert three.se > one.se
    assert paired(base, method).mean == -three.mean
    assert paired(base, method).p_value == three.p_value


def test_paired_without_spread_is_undecided():
    right, wrong = np.ones((1, 4, 2), bool), np.zeros((1, 4, 2), bool)
    for first, second, mean in ((right, wrong, 1), (right, right, 0), (right[:, :1], wrong[:, :1], 1)):
        result = paired(first, second)
        assert result.mean == mean
        assert np.isnan([result.se, result.low, result.high, result.p_value, result.degrees]).all()
    # A constant difference of 1/3, never exactly 1/3 in floats.
    thirds = np.arange(3) < np.array([[[1], [2], [3], [2]]])
    assert np.isnan(paired(thirds, np.arange(3) < np.array([[[0], [1], [2], [1]]])).p_value)
    with pytest.raises(ValueError, match="4 questions against 3"):
        paired(right, wrong[:, :3])


@pytest.mark.parametrize(
    ("seeds", "seed_sd", "size", "side"),
    [
        ((1, 1), 0.0, 0.05, "two-sided"),
        ((3, 3), 0.0, 0.05, "greater"),  # may only be stricter than it says
        ((3, 3), 0.3, 0.05, "greater"),
        ((1, 3), 0.3, 0.08, "greater"),  # an untrained base against a method: less strict, as documented
    ],
)
def test_paired_finds_a_difference_that_is_none_no_more_often_than_it_says(seeds, seed_sd, size, side):
    rng = np.random.default_rng(9)
    found = 0
    for _ in range(1000):
        question = rng.standard_normal((1, 50, 1))
        first, second = (simulated(rng, question, count, 4, seed_sd * (count > 1)) for count in seeds)
        found += paired(first, second).p_value < 0.05
    assert plausible(found, 1000, size, side)
    assert found > 0


@settings(max_examples=12)  # statsmodels collects all garbage each time
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_is_that_of_statsmodels(p_values):
    expected = multipletests(p_values, method="holm")[1] if p_values else []
    assert holm(p_values).tolist() == list(expected)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]).tolist() == [1, 1]
    mixed = holm([0.04, float("nan"), 0.01])
    assert mixed[[0, 2]] == pytest.approx([0.04, 0.02])
    assert np.isnan(mixed[1])
    assert np.isnan(holm([float("nan")])).all()
    assert holm([]).size == 0


# --- pass@k and majority@k -----------------------------------------------------------------------


@given(SMALL)
def test_pass_at_k_is_the_share_of_draws_with_a_right_answer(correct):
    trials = correct.shape[2]
    result = pass_at_k(correct, range(1, trials + 1))
    for k in range(1, trials + 1):
        draws = [correct[:, :, draw].any(axis=2).mean() for draw in combinations(range(trials), k)]
        assert result[k] == pytest.approx(np.mean(draws), abs=1e-12)
    assert result[1] == pytest.approx(accuracy(correct), abs=1e-12)


def test_pass_at_k_by_hand_and_its_limits():
    # Two of four right: C(2, 2) / C(4, 2) = 1/6 of the pairs have none; the other question has none right.
    correct = np.array([[[1, 1, 0, 0], [0, 0, 0, 0]]], dtype=bool)
    assert pass_at_k(correct, (1, 2, 4)) == pytest.approx({1: 1 / 4, 2: 5 / 12, 4: 1 / 2})
    for k in (0, 5):
        with pytest.raises(ValueError, match="1 to the 4 trials"):
            pass_at_k(correct, (1, k))


def slow_majority(keys: list[str | None], right: set[str], k: int) -> Fraction:
    """The vote over all draws of k from one question's answers, in exact fractions."""
    scores = []
    for draw in combinations(keys, k):
        votes = Counter(key for key in draw if key is not None)
        winners = [key for key, count in votes.items() if count == max(votes.values())]
        scores.append(Fraction(len(right.intersection(winners)), len(winners)) if winners else Fraction(0))
    return sum(scores, Fraction(0)) / len(scores)


@given(st.lists(st.lists(st.sampled_from(["1", "2", "3", None]), min_size=5, max_size=5), min_size=1, max_size=4))
def test_majority_is_the_vote_over_every_draw(questions):
    answers = np.array(questions, dtype=object)[None]
    correct = np.isin(answers, ["1", "3"])  # two ways to be right
    result = majority_at_k(answers, correct, range(1, 6))
    for k in range(1, 6):
        expected = sum(slow_majority(keys, {"1", "3"}, k) for keys in questions) / len(questions)
        assert result[k] == pytest.approx(float(expected), abs=1e-12)
    assert result[1] == pytest.approx(accuracy(correct), abs=1e-12)


def test_majority_by_hand():
    def vote(keys: list[str | None], correct: list[int], k: int) -> float:
        return majority_at_k(np.array([[keys]], dtype=object), np.array([[correct]], dtype=bool), [k])[k]

    assert vote(["a", "a", "b", None], [1, 1, 0, 0], 4) == 1
    assert vote(["a", "b", None, None], [1, 0, 0, 0], 4) == 1 / 2  # a tie; no answer never wins
    assert vote([None, None], [0, 0], 2) == 0
    assert vote(["a", "b", "c"], [1, 0, 0], 2) == pytest.approx(1 / 3)
    assert vote(["a", "a", "b"], [1, 0, 0], 3) == 1 / 2  # one key, judged differently
    with pytest.raises(ValueError, match="no key"):
        vote([None, "a"], [1, 0], 1)
    with pytest.raises(ValueError, match="1 to the 2 trials"):
        vote(["a", "a"], [1, 1], 3)
    with pytest.raises(ValueError, match="too many draws"):
        vote(["a"] * 40, [1] * 40, 20)
    with pytest.raises(ValueError, match="against"):
        vote(["a"], [1, 1], 1)


# --- properties ----------------------------------------------------------------------------------


def test_rounding_is_no_difference_between_seeds():
    """Seeds and questions add nothing here but the last bits; Satterthwaite's degrees would be 0.008."""
    correct = np.ones((3, 3, 3), dtype=bool)
    correct[0, :2, 0] = correct[1, 2, 0] = False
    found = paired(correct, np.roll(correct, 1, axis=1))
    assert found.mean == pytest.approx(0, abs=1e-15) and np.isnan(found.se) and np.isnan(found.low)


@given(SMALL, st.randoms(use_true_random=False))
def test_order_of_questions_trials_and_seeds_changes_nothing(correct, random):
    orders = [random.sample(range(size), size) for size in correct.shape]
    moved = correct[np.ix_(*orders)]
    answers = np.where(correct, "right", "wrong").astype(object)
    ks = range(1, correct.shape[2] + 1)
    for one in (accuracy, sd_over_trials, clustered_se, standard_error):
        assert one(moved) == pytest.approx(one(correct), nan_ok=True, abs=1e-12)
    assert pass_at_k(moved, ks) == pytest.approx(pass_at_k(correct, ks))
    assert majority_at_k(answers[np.ix_(*orders)], moved, ks) == pytest.approx(majority_at_k(answers, correct, ks))
    # The other model's questions move along; its trials and seeds need not.
    other = np.roll(correct, 1, axis=1)
    before, after = vars(paired(correct, other)), vars(paired(moved, other[:, orders[1]]))
    assert after == pytest.approx(before, nan_ok=True, abs=1e-9)


@given(SMALL)
def test_seeds_only_add_to_the_error_and_pass_at_k_only_grows(correct):
    if correct.shape[1] > 1:
        assert standard_error(correct) >= clustered_se(correct)
    values = list(pass_at_k(correct, range(1, correct.shape[2] + 1)).values())
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(values))


# --- lengths and power ---------------------------------------------------------------------------


def test_length_quantiles_leave_out_what_is_null():
    lengths = [*range(11), None, float("nan")]
    assert length_quantiles(lengths) == {"p10": 1, "p50": 5, "p90": 9, "max": 10}
    assert length_quantiles(pd.Series([7, None], dtype="Int32"))["max"] == 7
    assert np.isnan(list(length_quantiles([None]).values())).all()


def test_smallest_difference_is_millers_example():
    # 969 questions for 3 points, with omega^2 = 1/9 and no noise from the trials.
    assert smallest_difference(969, 1, 1 / 3, 0) == pytest.approx(0.03, abs=1e-5)
    assert smallest_difference(100, 4, 0.3, 0.6) == pytest.approx(smallest_difference(400, 4, 0.6, 1.2))


def pair_apart(rng: np.random.Generator, difference: float, questions: int, trials: int) -> list[np.ndarray]:
    """Two models whose true solve rates lie `difference` -0.3 or +0.3 apart, each for half of the questions."""
    gap = difference + rng.choice([-0.3, 0.3], (1, questions, 1))
    return [rng.random((1, questions, trials)) < 0.5 + sign * gap / 2 for sign in (1, -1)]


def test_smallest_difference_is_found_with_the_power_it_says():
    # Each answer's variance is 1/4 - gap^2 / 4, with gap^2 of 0.09 on the mean; the small difference hardly adds.
    within = (2 * (0.25 - 0.09 / 4)) ** 0.5
    difference = smallest_difference(300, 4, 0.3, within)
    rng = np.random.default_rng(10)
    found = sum(paired(*pair_apart(rng, difference, 300, 4)).p_value < 0.05 for _ in range(1500))
    assert plausible(found, 1500, 0.8)


def test_spread_recovers_what_was_put_in():
    rng = np.random.default_rng(11)
    result = spread(*pair_apart(rng, 0.0, 20_000, 3))
    assert result.sd_question == pytest.approx(0.3, abs=0.01)
    assert result.sd_within == pytest.approx((2 * (0.25 - 0.09 / 4)) ** 0.5, abs=0.01)


def test_spread_of_a_design_gives_back_the_error_of_the_paired_test():
    first, second = answers_of(12, (1, 100, 4)), answers_of(13, (1, 100, 4))
    measured = spread(first, second)
    assert measured.sd_question > 0
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    smallest = smallest_difference(100, 4, **vars(measured))
    assert smallest == pytest.approx(z * paired(first, second).se)
    # Three seeds of either: the same difference of means, from three times as many answers.
    assert spread(np.repeat(first, 3, 0), np.repeat(second, 3, 0)).sd_within == pytest.approx(measured.sd_within)


def test_spread_of_a_single_trial_is_undecided():
    result = spread(answers_of(1, (1, 9, 1)), answers_of(2, (1, 9, 4)))
    assert np.isnan([result.sd_question, result.sd_within]).all()
    assert np.isnan(smallest_difference(9, 1, **vars(result)))
    same = np.zeros((1, 9, 4), bool)
    assert np.isnan(smallest_difference(9, 4, **vars(spread(same, same))))
    with pytest.raises(ValueError, match="9 questions against 8"):
        spread(answers_of(1, (1, 9, 2)), answers_of(2, (1, 8, 2)))
