"""Entropy diagnostics: measures against known answers, table, figures and case study on made-up rollouts."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from report_inputs import END, STOP, planted, write_problems, write_rollouts
from scipy.stats import mannwhitneyu, norm
from sklearn.metrics import roc_auc_score

from egpo.analysis.claims import CONTRADICTED, OPEN, SUPPORTED, margins, verdict
from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.config.files import read_yaml
from egpo.config.loader import load
from egpo.report.figures.entropy import density, write_entropy_figures
from egpo.report.tables.case_study import choose, write_case_study
from egpo.report.tables.claims import write_claims
from egpo.report.tables.entropy import write_entropy_table
from egpo.uncertainty.measures import (
    auc,
    calibration_error,
    entropy,
    estimate,
    gap,
    measure_rollouts,
    parts,
    resampled,
    roc,
)

PAPER = ROOT / "config" / "paper-numbers.yaml"

# --- parts and entropies --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "truncated", "thinking", "answer"),
    [
        ([9, 8, END, 7, 6, STOP], False, [9, 8], [7, 6]),
        ([9, 8, END, 7, 6], True, [9, 8], [7, 6]),
        ([9, END, 8, END, 7, STOP], False, [9], [8, END, 7]),  # the first end counts
        ([9, 8, 7, STOP], False, [9, 8, 7], []),  # thoughts that do not end
        ([9, 8, 7], True, [9, 8, 7], []),
        ([9, END, STOP], False, [9], []),  # an empty answer
        ([9, END], True, [9], []),
        ([END, 7, STOP], False, [], [7]),  # no thoughts
        ([STOP], False, [], []),
    ],
)
def test_parts_of_a_response(tokens, truncated, thinking, answer):
    found = parts(tokens, truncated, END)
    assert tokens[found["response"]] == tokens
    assert tokens[found["thinking"]] == thinking
    assert tokens[found["answer"]] == answer


def test_without_thoughts_the_token_means_nothing():
    assert parts([9, END, 8, STOP], False, None) == {"response": slice(0, 4)}


def test_entropy_is_the_mean_negative_log_probability():
    logprobs = [math.log(0.5), math.log(0.25), 0.0]
    assert entropy(logprobs, slice(0, 3)) == pytest.approx(math.log(8) / 3)
    assert entropy(logprobs, slice(2, 3)) == 0
    assert math.isnan(entropy(logprobs, slice(1, 1)))


def test_the_entropy_is_that_of_the_training():
    import torch

    from egpo.methods.entropy import response_entropy, scope_mask

    rng = np.random.default_rng(0)
    tokens = torch.tensor([[9, 8, END, 7, 6, STOP, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 1, 0, 0]])
    logprobs = -rng.exponential(size=8).astype(np.float32)
    nll = torch.tensor(-logprobs)[None]
    found = parts(tokens[0, :6].tolist(), False, END)
    assert entropy(logprobs[:6], found["response"]) == pytest.approx(float(response_entropy(nll, mask)), rel=1e-6)
    # The training's thoughts end with </think>, its answer with the end token; here neither is counted.
    thoughts = scope_mask(tokens, mask, "thinking", END)
    thoughts[0, 2] = False
    assert entropy(logprobs[:6], found["thinking"]) == pytest.approx(float(response_entropy(nll, thoughts)), rel=1e-6)


# --- measures -------------------------------------------------------------------------------------


@given(
    st.integers(2, 30).flatmap(
        lambda n: st.tuples(arrays(float, n, elements=st.sampled_from([0.0, 0.1, 0.2, 0.3, 1.5])), arrays(bool, n))
    )
)
def test_auc_is_the_share_of_ordered_pairs(drawn):
    entropies, incorrect = drawn
    bad, good = entropies[incorrect], entropies[~incorrect]
    if not len(bad) or not len(good):
        assert math.isnan(auc(entropies, incorrect))
        return
    pairs = [(b > g) + 0.5 * (b == g) for b in bad for g in good]
    assert auc(entropies, incorrect) == pytest.approx(np.mean(pairs))
    assert auc(entropies, incorrect) == pytest.approx(mannwhitneyu(bad, good).statistic / len(bad) / len(good))


def test_auc_of_two_normal_distributions():
    rng = np.random.default_rng(0)
    incorrect = np.repeat([True, False], 20_000)
    entropies = rng.normal(size=40_000) + incorrect
    assert auc(entropies, incorrect) == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=0.006)


def test_weighted_aucs_are_scikit_learns():
    rng = np.random.default_rng(1)
    entropies, incorrect = rng.integers(0, 12, 60) / 7, rng.random(60) < 0.4
    weights = rng.integers(0, 4, (20, 60)).astype(float)
    expected = [roc_auc_score(incorrect, entropies, sample_weight=one) for one in weights]
    assert auc(entropies, incorrect, weights) == pytest.approx(expected)
    weights[3, incorrect] = 0
    assert np.flatnonzero(np.isnan(auc(entropies, incorrect, weights))).tolist() == [3]


def test_weights_are_repetitions():
    rng = np.random.default_rng(1)
    entropies, incorrect = rng.random(40), rng.random(40) < 0.4
    weights = rng.integers(0, 4, 40).astype(float)
    times = weights.astype(int)
    for measure in (auc, gap, calibration_error):
        repeated = measure(np.repeat(entropies, times), np.repeat(incorrect, times), None)
        assert measure(entropies, incorrect, weights) == pytest.approx(repeated)
        assert measure(entropies, incorrect, np.stack([weights] * 2)) == pytest.approx([repeated] * 2)


def test_roc_curve_encloses_the_auc():
    rng = np.random.default_rng(2)
    entropies, incorrect = rng.random(200), rng.random(200) < 0.4
    false, true = roc(entropies, incorrect)
    assert np.trapezoid(true, false) == pytest.approx(auc(entropies, incorrect))


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    incorrect = np.array([False, False, True, False])
    # Bins: two of confidence .95 with accuracy 1, two of .55 with accuracy .5.
    assert calibration_error(-np.log(confidence), incorrect) == pytest.approx((2 * 0.05 + 2 * 0.05) / 4)


def test_a_bootstrap_draws_problems_and_not_rollouts():
    problems = np.repeat([3, 5, 9], [2, 4, 1])
    weights = resampled(problems, resamples=500)
    for problem in (3, 5, 9):
        assert (np.ptp(weights[:, problems == problem], axis=1) == 0).all()
    assert (weights[:, [0, 2, 6]].sum(axis=1) == 3).all()
    assert weights[:, 0].mean() == pytest.approx(1, abs=0.15)


def test_a_planted_signal_is_found_and_planted_noise_is_not():
    missed = false = 0
    for seed in range(20):
        for signal in (1.0, 0.0):
            table = planted(signal, seed)
            weights = resampled(table["problem"].to_numpy(), resamples=300)
            found = estimate(gap, table["response"].to_numpy(), ~table["correct"].to_numpy(), weights)
            missed += signal > 0 and found.sign != 1
            false += signal == 0 and found.sign != 0
    assert missed == 0
    assert false <= 4  # of 20 intervals of 95%


# --- files ----------------------------------------------------------------------------------------


def test_measures_of_a_file(tmp_path):
    table = measure_rollouts(write_rollouts(tmp_path / "a.parquet", END, {0: 1, 1: 2}))
    first, second = table.iloc[0], table.iloc[1]
    assert (first["response"], first["thinking"], first["answer"]) == (3, 1, 3)
    assert (first["response_tokens"], first["thinking_tokens"], first["answer_tokens"]) == (4, 1, 1)
    assert (second["response"], second["thinking"]) == (1.5, 1.5) and math.isnan(second["answer"])
    assert table["ended"].tolist() == [True, False] * 2
    plain = measure_rollouts(write_rollouts(tmp_path / "b.parquet", None, {0: 1}))
    assert plain["response"].tolist() == [3, 1.5] and plain["thinking"].isna().all()


def test_another_file_is_refused(tmp_path):
    planted(1, 1).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"x\.parquet: not the rollouts of a model"):
        measure_rollouts(tmp_path / "x.parquet")


def experiment(**changes: object):
    values = read_yaml(ROOT / "config" / "demo.yaml") | {"backbones": ["tiny-math", "tiny-think"]} | changes
    return load({**values, "data": {**values["data"], "heldout_rows": 60}}, "config/demo.yaml")


@pytest.fixture(scope="module")
def measures(tmp_path_factory) -> dict[tuple[str, str, int], Path]:
    folder = tmp_path_factory.mktemp("measures")
    made = {}
    for number, (backbone, method, seed) in enumerate(
        (backbone, method, seed)
        for backbone in ("tiny-math", "tiny-think")
        for method, seed in (("base", 0), ("grpo", 1), ("egpo", 1))
    ):
        table = planted(number / 3, number)
        if backbone == "tiny-think":
            table.loc[:2, ["answer", "ended"]] = (math.nan, False)
        path = folder / f"{backbone}-{method}.parquet"
        table.to_parquet(path)
        made[backbone, method, seed] = path
    return made


def test_table3_counts_what_it_leaves_out(measures, tmp_path):
    write_entropy_table(experiment(), measures, PAPER, tmp_path)
    page = (tmp_path / "table3.md").read_text()
    assert "tiny-think (synthetic) (Base): 3 with thoughts without an end" in page
    assert "The paper prints no number for these models." in page
    table = pd.read_csv(tmp_path / "table3.csv").set_index(["backbone", "method"])
    one = table.loc[("tiny-think", "egpo")]
    assert (one["used"], one["rollouts"]) == (477, 480)
    rollouts = pd.read_parquet(measures["tiny-think", "egpo", 1]).dropna(subset=["answer"])
    assert one["auc_answer"] == pytest.approx(auc(rollouts["answer"].to_numpy(), ~rollouts["correct"].to_numpy()), 1e-5)
    assert one["answer_over_thinking"] == pytest.approx(one["auc_answer"] - one["auc_thinking"], abs=1e-5)
    assert one["answer_over_thinking_low"] > 0
    assert math.isnan(table.loc[("tiny-math", "egpo"), "auc_answer"])
    assert r"\toprule" in (tmp_path / "table3.tex").read_text()


def test_the_papers_numbers_stand_beside_its_models(measures, tmp_path):
    entry = {"tiny-think": {"thinking_entropy": 0.745, "answer_entropy": 0.778}}
    from egpo.report.tables import entropy as entropy_table

    table = pd.DataFrame(
        [
            entropy_table.row(one, entry)
            for (backbone, method), one in entropy_table.diagnose(experiment(), measures).items()
            if backbone == "tiny-think" and method == "base"
        ]
    )
    page = entropy_table.markdown(experiment(), table)
    value = table["auc_answer"].iloc[0]
    assert f"| 0.778 ({value - 0.778:+.3f}) |" in page


def test_other_measures_are_refused(measures, tmp_path):
    table = pd.read_parquet(measures["tiny-math", "base", 0])
    table[table["problem"] > 0].to_parquet(tmp_path / "short.parquet")
    with pytest.raises(UserError, match=r"short\.parquet: holds 59 problems and 8 rollouts .* asks for 60 and 8"):
        other = {**measures, ("tiny-math", "base", 0): tmp_path / "short.parquet"}
        write_entropy_table(experiment(), other, PAPER, tmp_path)


def test_densities_are_scipys_and_integrate_to_one():
    rng = np.random.default_rng(0)
    values, grid = rng.normal(1, 0.2, 500), np.linspace(-1, 3, 2000)
    curve = density(values, grid)
    assert np.trapezoid(curve, grid) == pytest.approx(1, abs=1e-3)
    bandwidth = np.std(values, ddof=1) * 500 ** (-1 / 5)  # Scott's rule
    by_hand = norm.pdf((grid[1000] - values) / bandwidth).mean() / bandwidth
    assert curve[1000] == pytest.approx(by_hand, rel=1e-6)
    assert density(np.full(5, 0.3), grid) is None


def test_figures_are_written_for_models_with_and_without_thoughts(measures, tmp_path):
    write_entropy_figures(experiment(), measures, tmp_path / "both")
    names = {"entropy_density", "entropy_roc", "entropy_length", "entropy_parts"}
    assert {path.name for path in (tmp_path / "both").iterdir()} == {f"{n}.{s}" for n in names for s in ("png", "pdf")}
    alone = {model: path for model, path in measures.items() if model[0] == "tiny-math"}
    write_entropy_figures(experiment(backbones=["tiny-math"]), alone, tmp_path / "one")
    assert not (tmp_path / "one" / "entropy_parts.png").exists()


def test_figures_without_an_outcome_are_written(measures, tmp_path):
    """A model that is always right has one density, no gap and no ROC curve."""
    table = pd.read_parquet(measures["tiny-math", "base", 0]).assign(correct=True)
    table.to_parquet(tmp_path / "right.parquet")
    changed = {**measures, ("tiny-math", "base", 0): tmp_path / "right.parquet"}
    write_entropy_figures(experiment(), changed, tmp_path)
    assert (tmp_path / "entropy_roc.png").exists()


def test_thoughts_that_never_end_leave_nothing_to_measure(measures, tmp_path):
    table = pd.read_parquet(measures["tiny-think", "base", 0]).assign(answer=math.nan, ended=False)
    table.to_parquet(tmp_path / "open.parquet")
    changed = {**measures, ("tiny-think", "base", 0): tmp_path / "open.parquet"}
    write_entropy_figures(experiment(), changed, tmp_path)
    write_entropy_table(experiment(), changed, PAPER, tmp_path)
    page = (tmp_path / "table3.md").read_text()
    assert "tiny-think (synthetic) (Base): 480 with thoughts without an end" in page
    assert "| tiny-think (synthetic) (Base) |  |  |  |  |" in page


def comparison(first: str, second: str, benchmark: str, difference: float, p: float) -> dict:
    family = "tiny-math, against the base" if second == "base" else "tiny-math, between methods"
    row = {"family": family, "backbone": "tiny-math", "first": first, "second": second, "benchmark": benchmark}
    return {**row, "difference": difference, "se": 1.0, "p_holm": p}


def test_claims(measures, tmp_path):
    benchmarks = ("synthetic_gsm8k", "synthetic_aime24")
    rows = [comparison("egpo", "base", name, 5, 0.01) for name in benchmarks]
    rows += [
        comparison("egpo", "grpo", name, *found) for name, found in zip(benchmarks, ((3, 0.2), (-4, 0.01)), strict=True)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "comparisons.csv", index=False)
    alone = {model: path for model, path in measures.items() if model[0] == "tiny-think"}
    catalogue = experiment(backbones=["tiny-think"], benchmarks=list(benchmarks))
    write_claims(catalogue, tmp_path / "comparisons.csv", alone, PAPER, {}, tmp_path)
    found = pd.read_csv(tmp_path / "claims.csv").set_index("says")["verdict"]
    assert found["tiny-math (synthetic) + EGPO is above base"] == "supported"
    assert found["tiny-math (synthetic) + EGPO is above GRPO"] == "contradicted"
    assert found["margins are larger for larger models"] == "not decidable"
    assert found["the ablations are below EGPO"] == "not decidable"
    assert found["tiny-think (synthetic) (Base): correct responses have the higher entropy"] == "contradicted"
    assert found["tiny-think (synthetic) (Base): answer entropy predicts better than thinking entropy"] == "supported"
    page = (tmp_path / "claims.md").read_text()
    assert "One training per method" in page and "**contradicted**" in page


def test_a_margin_without_a_baseline_is_open():
    """One method and two sizes of a model: there is nothing that the margin could be over."""
    values = read_yaml(ROOT / "config" / "paper.yaml")
    chosen = {"backbones": ["qwen2.5-math-1.5b", "qwen2.5-math-7b"], "methods": ["egpo"], "ablations": None}
    catalogue = load({**values, **chosen, "uncertainty": None}, "test")
    rows = pd.DataFrame([comparison("egpo", "base", "math_500", 5, 0.01)])
    pair = {"smaller": "qwen2.5-math-1.5b", "larger": "qwen2.5-math-7b"}
    found = list(margins(catalogue, rows, [pair]))
    assert [(one.verdict, one.numbers) for one in found] == [(OPEN, "no baseline in this experiment")]


def test_a_control_is_no_baseline():
    """The margin is over GRPO, also where a control is closer."""
    values = read_yaml(ROOT / "config" / "paper.yaml")
    sizes = {"smaller": "qwen2.5-math-1.5b", "larger": "qwen2.5-math-7b"}
    chosen = {"backbones": list(sizes.values()), "methods": ["grpo", "random_reward", "egpo"]}
    catalogue = load({**values, **chosen, "ablations": None, "uncertainty": None}, "test")
    rows = [
        comparison("egpo", second, "math_500", lead, 0.01)
        | {"backbone": backbone, "family": f"{backbone}, between methods"}
        for backbone, leads in zip(sizes.values(), ((1, 5), (9, 3)), strict=True)
        for second, lead in zip(("grpo", "random_reward"), leads, strict=True)
    ]
    (found,) = margins(catalogue, pd.DataFrame(rows), [sizes])
    assert found.verdict == SUPPORTED and found.numbers.startswith("+1.00 and +9.00")


def test_a_claim_without_a_difference_is_open():
    assert (verdict(0), verdict(1), verdict(-1), verdict(-1, -1)) == (OPEN, SUPPORTED, CONTRADICTED, SUPPORTED)


def test_the_case_is_the_largest_rise(tmp_path):
    model = ("tiny-math", "base", 0), ("tiny-math", "egpo", 1)
    rollouts = {
        model[0]: write_rollouts(tmp_path / "base.parquet", None, {0: 2, 1: 0, 2: 1}),
        model[1]: write_rollouts(tmp_path / "egpo.parquet", None, {0: 2, 1: 2, 2: 2}),
    }
    catalogue = experiment(backbones=["tiny-math"])
    write_case_study(catalogue, rollouts, write_problems(tmp_path / "heldout.parquet", 3), tmp_path)
    page = (tmp_path / "case_study.md").read_text()
    assert "question 1" in page and "question 0" not in page
    assert "0 of 2 responses correct; mean entropy 2.250" in page
    assert page.count("it is 1 ```\n``````") == 2  # the response cannot end its own block


def test_equal_rises_are_told_apart_by_hash():
    rows = [{"problem": p, "uuid": f"u{p}", "correct": False} for p in range(5)]
    before = pd.DataFrame(rows)
    after = before.assign(correct=True)
    assert choose(before, after) == choose(before.iloc[::-1], after.iloc[::-1])
