"""The mathematics of the methods, against the paper's equations and verl's own estimator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

from egpo.config import ROOT, Calibration, Method, read_yaml
from egpo.methods.advantage import Calibrated, base_advantage, calibrate
from egpo.methods.entropy import response_entropy
from egpo.methods.groups import Groups, kinds
from egpo.methods.metrics import step_metrics
from egpo.methods.weights import entropy_weights

GRPO = Calibration()
EGPO = Calibration(weight="entropy", nsr=True)
METHODS = {name: Method.model_validate(entry) for name, entry in read_yaml(ROOT / "config" / "methods.yaml").items()}

calibrations = st.builds(
    Calibration,
    weight=st.just("entropy"),
    lam_min=st.floats(0.05, 1),
    lam_max=st.floats(1, 5),
    correct=st.sampled_from(["floor", "clip"]),
    incorrect=st.sampled_from(["cap", "clip"]),
    entirely_incorrect=st.sampled_from(["weighted", "one"]),
    renorm=st.sampled_from(["none", "before", "after"]),
    nsr=st.booleans(),
)


@st.composite
def steps(draw):
    """Rewards, entropies and prompts of the responses of a step, in random order, groups of unequal size."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    prompts = [f"prompt-{number}" for number, size in enumerate(sizes) for _ in range(size)]
    prompts = draw(st.permutations(prompts))
    rewards = draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=len(prompts), max_size=len(prompts)))
    entropies = draw(st.lists(st.floats(0.01, 8), min_size=len(prompts), max_size=len(prompts)))
    return torch.tensor(rewards), torch.tensor(entropies), prompts


def as_log_probs(entropies: torch.Tensor, lengths: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and mask of responses with these entropies; nonsense outside the mask."""
    lengths = torch.full((len(entropies),), 3) if lengths is None else lengths
    mask = (torch.arange(int(lengths.max()) + 2) < lengths[:, None]).float()
    return torch.where(mask.bool(), -entropies[:, None], float("nan")), mask


def advantages(rewards, entropies, prompts, calibration) -> torch.Tensor:
    return calibrate(rewards, *as_log_probs(entropies), prompts, calibration).advantages


# --- Eq. (5) ----------------------------------------------------------------------------------------


def test_entropy_is_mean_over_own_tokens():
    log_probs = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, 99.0, float("nan")]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    assert response_entropy(log_probs, mask).tolist() == [2.0, 4.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_entropy_refuses_what_is_not_finite(bad):
    with pytest.raises(ValueError, match=r"responses \[1\].*not finite"):
        response_entropy(torch.tensor([[-1.0], [bad]]), torch.ones(2, 1))


def test_entropy_refuses_empty_responses_and_other_shapes():
    with pytest.raises(ValueError, match=r"responses \[0\] have no token"):
        response_entropy(torch.zeros(1, 2), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="differ in shape"):
        response_entropy(torch.zeros(1, 3), torch.ones(1, 2))


# --- groups and base advantage, Eq. (2), (10), (13) --------------------------------------------------


@given(steps())
def test_every_group_has_exactly_one_kind(step):
    rewards, _, prompts = step
    groups = Groups.of(prompts)
    kind = kinds(rewards, groups)
    assert (kind.mixed.int() + kind.entirely_correct.int() + kind.entirely_incorrect.int()).tolist() == [
        1
    ] * groups.count
    for number, prompt in enumerate(dict.fromkeys(prompts)):
        own = [rewards[i].item() for i, other in enumerate(prompts) if other == prompt]
        assert kind.entirely_correct[number] == (set(own) == {1.0})
        assert kind.entirely_incorrect[number] == (set(own) == {-1.0})


@given(st.integers(1, 12), st.integers(2, 33), st.integers(0, 10**6), st.booleans())
def test_grpo_is_verls_estimator_bit_for_bit(count, size, seed, shuffle):
    generator = torch.Generator().manual_seed(seed)
    rewards = (torch.randint(0, 2, (count * size,), generator=generator) * 2 - 1).float()
    prompts = [f"prompt-{i // size}" for i in range(count * size)]
    if shuffle:
        order = torch.randperm(count * size, generator=generator)
        prompts = [prompts[i] for i in order]
    _, mask = as_log_probs(torch.ones(len(rewards)))
    token_rewards = torch.zeros_like(mask)
    token_rewards[:, 2] = rewards
    expected, _ = compute_grpo_outcome_advantage(token_rewards, mask, np.array(prompts, dtype=object))
    ours = calibrate(rewards, *as_log_probs(torch.ones(len(rewards))), prompts, GRPO).advantages
    assert torch.equal(ours[:, None] * mask, expected)


def test_nsr_gives_minus_one_to_hopeless_groups_only():
    rewards = torch.tensor([-1.0, -1.0, 1.0, 1.0, 1.0, -1.0])
    groups = Groups.of(["a", "a", "b", "b", "c", "c"])
    assert base_advantage(rewards, groups, nsr=True)[:4].tolist() == [-1, -1, 0, 0]
    assert base_advantage(rewards, groups, nsr=False)[:4].tolist() == [0, 0, 0, 0]
    scaled = base_advantage(rewards, groups, nsr=True)[4:]
    assert torch.equal(scaled, base_advantage(rewards, groups, nsr=False)[4:])
    assert scaled[0] == -scaled[1] and scaled[0] > 0.7


def test_rewards_other_than_plus_and_minus_one_are_refused():
    with pytest.raises(ValueError, match=r"\+1 or -1.*0\.5"):
        advantages(torch.tensor([1.0, 0.5]), torch.ones(2), ["a", "a"], EGPO)
    with pytest.raises(ValueError, match="2 rewards for 1 prompt"):
        advantages(torch.tensor([1.0, -1.0]), torch.ones(2), ["a"], EGPO)


# --- weights, Eq. (7) to (9) --------------------------------------------------------------------------


@given(steps(), calibrations)
def test_asymmetric_clamp(step, calibration):
    rewards, entropies, prompts = step
    weights = entropy_weights(entropies, rewards, Groups.of(prompts), calibration)
    assert torch.isfinite(weights).all() and (weights > 0).all()
    if calibration.renorm == "after":  # breaks the invariant, as the paper's C5 does
        return
    bounds = calibration.model_copy(update={"renorm": "none"})
    assert (weights >= bounds.lam_min).all() and (weights <= max(bounds.lam_max, 1)).all()
    if calibration.correct == "floor":
        assert (weights[rewards > 0] >= 1).all()
    if calibration.incorrect == "cap":
        assert (weights[rewards < 0] <= 1).all()
    if calibration.entirely_incorrect == "one":
        hopeless = Groups.of(prompts).spread(kinds(rewards, Groups.of(prompts)).entirely_incorrect)
        assert (weights[hopeless] == 1).all()


@given(steps(), calibrations, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(step, calibration, random):
    rewards, entropies, prompts = step
    order = list(range(len(prompts)))
    random.shuffle(order)
    there = advantages(rewards, entropies, prompts, calibration)
    shuffled = advantages(rewards[order], entropies[order], [prompts[i] for i in order], calibration)
    torch.testing.assert_close(shuffled, there[order], rtol=1e-5, atol=1e-6)


@given(steps(), steps(), calibrations)
def test_other_groups_do_not_matter(step, more, calibration):
    rewards, entropies, prompts = step
    alone = advantages(rewards, entropies, prompts, calibration)
    others = [f"other-{prompt}" for prompt in more[2]]
    together = advantages(
        torch.cat([rewards, more[0]]), torch.cat([entropies, more[1]]), [*prompts, *others], calibration
    )
    assert torch.equal(together[: len(alone)], alone)


@given(steps(), calibrations, st.floats(0.25, 4))
def test_scale_of_entropies_does_not_matter(step, calibration, factor):
    rewards, entropies, prompts = step
    small = calibration.model_copy(update={"eps_h": 1e-12})
    torch.testing.assert_close(
        advantages(rewards, entropies * factor, prompts, small),
        advantages(rewards, entropies, prompts, small),
        rtol=1e-4,
        atol=1e-5,
    )


@given(steps())
def test_all_weights_one_is_grpo_with_nsr(step):
    rewards, entropies, prompts = step
    flat = torch.full_like(entropies, 2.0)
    step_of_equals = calibrate(rewards, *as_log_probs(flat), prompts, EGPO)
    torch.testing.assert_close(step_of_equals.weights, torch.ones_like(flat), rtol=1e-5, atol=1e-5)
    assert torch.equal(step_of_equals.base, base_advantage(rewards, Groups.of(prompts), nsr=True))


def one_group() -> Calibrated:
    """Entropies 1, 2, 3, 6 with mean 3, the first and the last correct; and a hopeless group of 1 and 3."""
    rewards = torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0, -1.0])
    entropies = torch.tensor([1.0, 2.0, 3.0, 6.0, 1.0, 3.0])
    return calibrate(rewards, *as_log_probs(entropies), list("aaaabb"), EGPO)


def test_egpo_by_hand():
    step = one_group()
    # what = 3/1, 3/2, 3/3, 3/6 and 2/1, 2/3 (Eq. 7), clipped to [0.8, 2], then max(1, .) or min(1, .) (Eq. 8).
    torch.testing.assert_close(step.weights, torch.tensor([2.0, 1.0, 1.0, 1.0, 1.0, 0.8]), rtol=1e-4, atol=0)
    std = (4 / 3) ** 0.5  # of 1, 1, -1, -1, unbiased
    base = [1 / std, -1 / std, -1 / std, 1 / std, -1, -1]
    torch.testing.assert_close(step.base, torch.tensor(base), rtol=1e-5, atol=0)
    torch.testing.assert_close(step.advantages, step.weights * step.base)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("grpo", [1, 1, 1, 1, 1, 1]),
        ("egpo", [2, 1, 1, 1, 1, 0.8]),
        ("c1", [2, 1.5, 1, 0.8, 2, 0.8]),
        ("c2", [2, 1, 1, 0.8, 1, 0.8]),
        ("c3", [2, 1.5, 1, 1, 2, 0.8]),
        ("c4", [2, 1, 1, 1, 1, 1]),
        ("c5", [2 / 1.25, 1 / 1.25, 1 / 1.25, 1 / 1.25, 1 / 0.9, 0.8 / 0.9]),
        ("c6", [2, 1, 0.8, 1, 1, 0.8]),  # what / 1.5 = 2, 1, 2/3, 1/3; what / (4/3) = 1.5, 0.5
    ],
)
def test_weights_of_each_method_by_hand(method, expected):
    step = one_group()
    weights = entropy_weights(step.entropies, step.rewards, step.groups, METHODS[method].calibration)
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float32), rtol=1e-4, atol=0)


# --- metrics -----------------------------------------------------------------------------------------


def test_metrics_by_hand():
    metrics = step_metrics(one_group())
    assert metrics["egpo/groups/mixed"] == metrics["egpo/groups/entirely_incorrect"] == 0.5
    assert metrics["egpo/groups/entirely_correct"] == 0
    assert metrics["egpo/weight/correct/mean"] == pytest.approx(1.5, rel=1e-4)
    assert metrics["egpo/weight/incorrect/min"] == pytest.approx(0.8)
    assert metrics["egpo/entropy/gap"] == pytest.approx((2 + 3 + 1 + 3) / 4 - 3.5)
    mixed = (2 + 1 + 1 + 1) / (4 / 3) ** 0.5
    assert metrics["egpo/nsr_share"] == pytest.approx(1.8 / (1.8 + mixed), rel=1e-3)


def test_metrics_leave_out_what_did_not_occur():
    step = calibrate(torch.ones(2), *as_log_probs(torch.ones(2)), ["a", "a"], EGPO)
    metrics = step_metrics(step)
    assert metrics["egpo/nsr_share"] == 0
    assert not [name for name in metrics if ("incorrect" in name and "groups" not in name) or name.endswith("gap")]


@settings(deadline=None)
@given(steps(), st.integers(1, 5))
def test_estimator_leaves_padding_out(step, padding):
    from egpo.training.estimator import compute_egpo_advantage, handover

    rewards, entropies, prompts = step
    log_probs, mask = as_log_probs(entropies)
    expected = calibrate(rewards, log_probs, mask, prompts, EGPO)
    token_rewards = torch.zeros_like(mask)
    token_rewards[:, 2] = rewards

    def padded(tensor):
        return torch.cat([tensor, torch.zeros(padding, mask.shape[1])])

    index = np.array([*prompts, *[f"pad-{i}" for i in range(padding)]], dtype=object)
    settings_of_verl = type("Config", (), {"egpo": EGPO.model_dump()})()
    with handover(padded(log_probs)) as parcel:
        found, returns = compute_egpo_advantage(padded(token_rewards), padded(mask), settings_of_verl, index)
    assert torch.equal(found[: len(rewards)], expected.advantages[:, None] * mask)
    assert not found[len(rewards) :].any() and found is returns
    assert parcel.metrics == step_metrics(expected)


def test_estimator_says_what_it_misses():
    from egpo.training.estimator import compute_egpo_advantage

    with pytest.raises(ValueError, match="trainer_mode=egpo"):
        compute_egpo_advantage(torch.ones(1, 1), torch.ones(1, 1), None, np.array(["a"], dtype=object))
