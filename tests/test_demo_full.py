"""What the step metrics of `make demo-full` prove: each method does, at every step, what its name says."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from egpo.analysis.learning import VALIDATION, read_metric
from egpo.common.paths import ROOT, Paths
from egpo.config.files import read_yaml
from egpo.config.loader import load

pytestmark = pytest.mark.full

VALUES = read_yaml(ROOT / "config/demo.yaml")
for key, value in read_yaml(ROOT / "config/demo-full.yaml").items():
    VALUES[key] = {**VALUES[key], **value} if isinstance(VALUES.get(key), dict) else value
EXPERIMENT = load(VALUES, "config/demo-full.yaml").experiment
TRAINING, ABLATIONS = EXPERIMENT.training, EXPERIMENT.ablations
MODELS = [(backbone, method) for backbone in EXPERIMENT.backbones for method in EXPERIMENT.methods]
MODELS += [(ABLATIONS.backbone, method) for method in ABLATIONS.methods]
LOW, HIGH, ROUNDING = 0.8, 2.0, 1e-6


def folder(backbone: str, method: str) -> Path:
    path = ROOT / Paths(EXPERIMENT.experiment).training(backbone, method, 1)
    assert (path / "manifest.json").exists(), f"{path} is not there: run `make demo-full`"
    return path


def steps(backbone: str, method: str) -> pd.DataFrame:
    """One row a step; a statistic of what did not occur in a step is nan there."""
    metrics = pd.read_json(folder(backbone, method) / "metrics.jsonl", lines=True)
    return metrics[metrics["step"] > 0].set_index("step")


def responses(backbone: str, method: str) -> pd.DataFrame:
    """One row a response, with `right`: 1 where the reward is that of a right response, else 0."""
    table = pd.read_parquet(folder(backbone, method) / "responses.parquet")
    return table.assign(right=(table["reward"] > 0).astype(float))


def of(method: str) -> list[pd.DataFrame]:
    return [steps(backbone, name) for backbone, name in MODELS if name == method]


def lowest(metrics: pd.DataFrame, outcome: str) -> float:
    return metrics[f"egpo/weight/{outcome}/min"].min()


def highest(metrics: pd.DataFrame, outcome: str) -> float:
    return metrics[f"egpo/weight/{outcome}/max"].max()


def keeps(metrics: pd.DataFrame, correct: bool, incorrect: bool) -> None:
    """Correct responses never below 1, incorrect never above 1; or each broken somewhere, where it is not promised."""
    assert (lowest(metrics, "correct") >= 1 - ROUNDING) == correct
    assert (highest(metrics, "incorrect") <= 1 + ROUNDING) == incorrect


def within_bounds(metrics: pd.DataFrame) -> None:
    for outcome in ("correct", "incorrect"):
        assert lowest(metrics, outcome) >= LOW - ROUNDING
        assert highest(metrics, outcome) <= HIGH + ROUNDING


@pytest.mark.parametrize(("backbone", "method"), MODELS)
def test_every_method_has_the_same_budget(backbone, method):
    metrics = steps(backbone, method)
    assert metrics.index.tolist() == list(range(1, TRAINING.total_training_steps + 1))
    config = OmegaConf.load(folder(backbone, method) / "verl.yaml")
    assert config.data.train_batch_size == config.actor_rollout_ref.actor.ppo_mini_batch_size
    assert config.data.train_batch_size == TRAINING.train_batch_size
    assert config.actor_rollout_ref.rollout.n == TRAINING.rollouts_per_prompt
    if method != "shuffled_answers":  # whose groups are entirely incorrect in most steps
        assert (metrics["actor/grad_norm"] > 0).all()
    # Nothing but dynamic sampling generates more than a batch.
    if not config.algorithm.filter_groups.enable:
        assert (metrics["egpo/groups/generated"] == TRAINING.train_batch_size).all()
        assert (metrics["egpo/groups/replaced"] == 0).all()


@pytest.mark.parametrize(("backbone", "method"), MODELS)
def test_every_model_is_evaluated(backbone, method):
    assert (ROOT / Paths(EXPERIMENT.experiment).evaluation(backbone, method, 1) / "records.parquet").exists()


def test_there_was_something_to_see():
    """All three kinds of groups, and entropies that differ."""
    for metrics in of("egpo"):
        for kind in ("mixed", "entirely_correct", "entirely_incorrect"):
            assert metrics[f"egpo/groups/{kind}"].max() > 0
        assert metrics["egpo/entropy/gap"].abs().max() > 0


def test_grpo_weighs_nothing():
    for metrics in of("grpo"):
        for outcome in ("correct", "incorrect"):
            assert lowest(metrics, outcome) == highest(metrics, outcome) == 1
        assert (metrics["egpo/nsr_share"] == 0).all()


@pytest.mark.parametrize("method", ["dapo", "dapo-overlong"])
def test_dapo_updates_on_mixed_groups_alone(method):
    for metrics in of(method):
        assert (metrics["egpo/groups/mixed"] == 1).all()
        assert metrics["egpo/groups/replaced"].sum() > 0
        generated = metrics["egpo/groups/generated"]
        assert (generated >= TRAINING.train_batch_size + metrics["egpo/groups/replaced"]).all()
        assert lowest(metrics, "correct") == highest(metrics, "correct") == 1


def test_overlong_shaping_takes_from_the_reward():
    (metrics,) = of("dapo-overlong")
    assert metrics["critic/score/min"].min() < -1 and metrics["critic/score/min"].min() >= -2
    for metrics in of("dapo"):
        assert set(metrics["critic/score/min"]) == {-1} and set(metrics["critic/score/max"]) == {1}


def test_edge_grpo_weighs_both_outcomes_by_the_distributions_entropy():
    for metrics in of("edge_grpo"):
        keeps(metrics, correct=False, incorrect=False)
        assert (metrics[["egpo/weight/correct/at_bound", "egpo/weight/incorrect/at_bound"]].fillna(0) == 0).all(None)
        assert (metrics["egpo/nsr_share"] == 0).all()
        # Means over responses and over tokens of the same entropies of verl's.
        means = metrics[["egpo/entropy/correct/mean", "egpo/entropy/incorrect/mean"]]
        assert ((metrics["actor/entropy"] / means.mean(axis=1)).between(0.5, 2)).all()


def test_egpo_is_asymmetric_and_learns_from_hopeless_groups():
    for metrics in of("egpo"):
        keeps(metrics, correct=True, incorrect=True)
        within_bounds(metrics)
        hopeless = metrics["egpo/groups/entirely_incorrect"] > 0
        assert ((metrics["egpo/nsr_share"] > 0) == hopeless).all() and hopeless.any()
        assert lowest(metrics, "entirely_incorrect") < 1


@pytest.mark.parametrize(
    ("method", "correct", "incorrect"), [("c1", False, False), ("c2", False, True), ("c3", True, False)]
)
def test_c1_to_c3_break_the_sides_that_they_name(method, correct, incorrect):
    (metrics,) = of(method)
    keeps(metrics, correct, incorrect)
    within_bounds(metrics)


def test_c4_locks_hopeless_groups_and_nothing_else():
    (metrics,) = of("c4")
    assert lowest(metrics, "entirely_incorrect") == highest(metrics, "entirely_incorrect") == 1
    assert metrics["egpo/nsr_share"].max() > 0
    keeps(metrics, correct=True, incorrect=True)
    assert lowest(metrics, "incorrect") < 1, "incorrect responses of mixed groups are still weighted"


def test_c5_renormalises_after_the_clamp():
    (metrics,) = of("c5")
    keeps(metrics, correct=False, incorrect=False)


def test_c6_renormalises_before_the_clamp():
    (metrics,) = of("c6")
    keeps(metrics, correct=True, incorrect=True)
    within_bounds(metrics)


def test_answer_scope_reads_other_entropies():
    (answer,) = of("egpo-answer")
    keeps(answer, correct=True, incorrect=True)
    whole = steps(ABLATIONS.backbone, "egpo")
    assert (answer["egpo/entropy/undefined"] < 1).all()
    assert (whole["egpo/entropy/undefined"] == 0).all()
    # Copying the result costs a model less doubt than finding it: at the first step both have the same weights.
    assert answer["egpo/entropy/correct/mean"].iloc[0] < whole["egpo/entropy/correct/mean"].iloc[0]


# --- controls --------------------------------------------------------------------------------------


def control(method: str) -> pd.DataFrame:
    return responses(ABLATIONS.backbone, method)


def within_groups(table: pd.DataFrame, first: str, second: str) -> float:
    """Correlation of two columns' ranks within the groups."""
    ranks = table.groupby(["step", "group"], observed=True)[[first, second]].rank()
    centred = ranks - ranks.groupby([table["step"], table["group"]], observed=True).transform("mean")
    return float(centred[first].corr(centred[second]))


def taken_for_right(method: str) -> pd.DataFrame:
    """The responses, with `taken`: 1 where the method has rewarded one as correct, else 0."""
    table = control(method)
    return table.assign(taken=((table["base"] > 0) | (table["kind"] == "entirely_correct")).astype(float))


def test_random_rewards_know_the_rates_of_the_groups_alone():
    table = taken_for_right("random_reward")
    assert (table["correct"] == table["right"]).all(), "the record has the verdicts"
    assert table["taken"].mean() == pytest.approx(table["right"].mean(), abs=0.05)
    assert abs(within_groups(table, "taken", "right")) < 0.15
    assert within_groups(taken_for_right("grpo"), "taken", "right") > 0.999


def test_shuffled_answers_reward_next_to_nothing_and_teach_nothing():
    table, plain = control("shuffled_answers"), responses(ABLATIONS.backbone, "grpo")
    assert table["right"].mean() < 0.1 < 0.25 < plain["right"].mean()
    accuracy = read_metric(folder(ABLATIONS.backbone, "shuffled_answers") / "metrics.jsonl", VALIDATION)
    noise = 2 * (0.5 / EXPERIMENT.data.validation_rows**0.5)
    assert accuracy.index[0] == 0 and accuracy.iloc[-1] - accuracy.iloc[0] < noise


def test_permuted_entropies_leave_the_weights_and_break_what_they_follow():
    for method, low, high in (("egpo", -1, -0.6), ("permuted_entropy", -0.2, 0.2)):
        table = responses(ABLATIONS.backbone, method)
        uniform = table[table["kind"] == "entirely_incorrect"]
        assert low <= within_groups(uniform, "weight", "entropy_used") <= high
        assert uniform["weight"].nunique() > 1


def test_a_constant_weight_is_one_a_step_and_not_one_for_all():
    weights = control("constant_weight").groupby("step")["weight"]
    assert (weights.nunique() == 1).all() and weights.first().nunique() > 1


def test_nsr_only_and_without_nsr_move_one_half_each():
    only, without = control("nsr_only"), control("egpo_without_nsr")
    for table, share in ((only, 1), (without, 0)):
        hopeless = table["kind"] == "entirely_incorrect"
        assert hopeless.any() and (table.loc[hopeless, "advantage"] == -share).all()
    assert (only.loc[only["kind"] == "mixed", "advantage"] == 0).all()
    assert (without.loc[without["kind"] == "mixed", "advantage"] != 0).all()
    (metrics,) = of("egpo_without_nsr")
    keeps(metrics, correct=True, incorrect=True)
