"""The mathematics of the methods, against the paper's equations and verl's estimator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from small_runs import METHODS
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

from egpo.config.methods import Calibration, Method, OverlongBuffer
from egpo.methods.advantage import Calibrated, base_advantage, calibrate, outcomes
from egpo.methods.entropy import response_entropy, scope_mask
from egpo.methods.groups import Groups, kinds_of
from egpo.methods.metrics import step_metrics
from egpo.methods.weights import raw_weights, renormalised

GRPO, EGPO = METHODS["grpo"].calibration, METHODS["egpo"].calibration

calibrations = st.builds(
    Calibration,
    weight=st.just("entropy"),
    lam_min=st.floats(0.05, 1),
    lam_max=st.floats(1, 5),
    correct=st.sampled_from(["floor", "clip", "raw"]),
    incorrect=st.sampled_from(["cap", "clip", "raw"]),
    lock=st.sampled_from(["none", "entirely_incorrect", "incorrect"]),
    renorm=st.sampled_from(["none", "before", "before_clipped", "after"]),
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


def as_tokens(entropies: torch.Tensor, lengths: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Token entropies and mask of responses with these entropies; nonsense outside the mask."""
    lengths = torch.full((len(entropies),), 3) if lengths is None else lengths
    mask = (torch.arange(int(lengths.max()) + 2) < lengths[:, None]).float()
    return torch.where(mask.bool(), entropies[:, None], float("nan")), mask


def step_of(step, calibration: Calibration) -> Calibrated:
    rewards, entropies, prompts = step
    return calibrate(rewards, *as_tokens(entropies), prompts, calibration)


# --- Eq. (5), and the parts of a response ------------------------------------------------------------


def test_entropy_is_mean_over_own_tokens():
    log_probs = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, 99.0, float("nan")]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    assert response_entropy(-log_probs, mask).tolist() == [2.0, 4.0]


def test_entropy_is_float32_whatever_the_policy_computes_in():
    token_entropies = torch.full((1, 3000), 0.1, dtype=torch.bfloat16)
    entropy = response_entropy(token_entropies, torch.ones(1, 3000))
    assert entropy.dtype == torch.float32
    assert entropy.item() == pytest.approx(token_entropies[0, 0].item(), rel=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_entropy_refuses_what_is_not_finite(bad):
    with pytest.raises(ValueError, match=r"responses \[1\].*not finite"):
        response_entropy(torch.tensor([[1.0], [bad]]), torch.ones(2, 1))


def test_shapes_that_disagree_and_empty_responses_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        response_entropy(torch.zeros(1, 3), torch.ones(1, 2))
    with pytest.raises(ValueError, match=r"responses \[1\] have no token"):
        calibrate(torch.ones(2), torch.zeros(2, 2), torch.tensor([[1, 0], [0, 0]]), ["a", "a"], GRPO)
    with pytest.raises(ValueError, match="2 rewards for 1 prompt"):
        calibrate(torch.ones(2), *as_tokens(torch.ones(2)), ["a"], GRPO)


END = 7


@pytest.mark.parametrize(
    ("tokens", "thinking", "answer"),
    [
        ([1, 2, END, 3, 4], [1, 1, 1, 0, 0], [0, 0, 0, 1, 1]),
        ([1, END, 3, END, 4], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1]),  # the first end decides
        ([END, 1, 2, 3, 4], [1, 0, 0, 0, 0], [0, 1, 1, 1, 1]),
        ([1, 2, 3, 4, END], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]),
        ([1, 2, 3, 4, 5], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]),  # cut off while thinking
    ],
)
def test_scope_splits_at_the_end_of_the_thought(tokens, thinking, answer):
    responses, mask = torch.tensor([tokens]), torch.ones(1, 5)
    assert scope_mask(responses, mask, "thinking", END).int().tolist() == [thinking]
    assert scope_mask(responses, mask, "answer", END).int().tolist() == [answer]


def test_scope_reads_nothing_outside_the_mask():
    responses, mask = torch.tensor([[1, 2, END, 3]]), torch.tensor([[1, 1, 0, 0]])
    assert scope_mask(responses, mask, "thinking", END).int().tolist() == [[1, 1, 0, 0]]
    assert not scope_mask(responses, mask, "answer", END).any()


@given(st.lists(st.lists(st.integers(5, 9), min_size=1, max_size=12), min_size=1, max_size=6))
def test_thinking_and_answer_are_a_partition(rows):
    width = max(map(len, rows))
    responses = torch.tensor([row + [END] * (width - len(row)) for row in rows])  # padding that looks like an end
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    parts = [scope_mask(responses, mask, scope, END) for scope in ("thinking", "answer")]
    assert torch.equal(parts[0] | parts[1], mask.bool()) and not (parts[0] & parts[1]).any()
    for row, answer in zip(rows, parts[1], strict=True):
        assert answer.sum() == (len(row) - row.index(END) - 1 if END in row else 0)


def test_a_response_without_an_answer_keeps_its_weight_and_leaves_the_mean_alone():
    """Entropies of the answers 1, 3 and none: the mean is 2, the raw weights 2, 2/3 and 1."""
    tokens = torch.tensor([[9.0, 1.0], [9.0, 3.0], [9.0, 9.0]])
    scope = torch.tensor([[0, 1], [0, 1], [0, 0]])
    rewards = torch.tensor([1.0, -1.0, -1.0])
    step = calibrate(rewards, tokens, torch.ones(3, 2), list("aaa"), EGPO, scope=scope)
    torch.testing.assert_close(step.weights.values, torch.tensor([2.0, 0.8, 1.0]), rtol=1e-4, atol=0)
    metrics = step_metrics(step)
    assert metrics["egpo/entropy/undefined"] == pytest.approx(1 / 3)
    assert metrics["egpo/entropy/incorrect/mean"] == 3
    nobody = calibrate(rewards, tokens, torch.ones(3, 2), list("aaa"), EGPO, scope=torch.zeros(3, 2))
    assert nobody.weights.values.tolist() == [1, 1, 1]
    assert torch.equal(nobody.advantages, nobody.base)


# --- groups and base advantage, Eq. (2), (10), (13) --------------------------------------------------


@given(steps())
def test_every_group_has_exactly_one_kind(step):
    rewards, _, prompts = step
    groups = Groups.of(prompts)
    kinds = kinds_of(rewards > 0, groups)
    counts = kinds.mixed.int() + kinds.entirely_correct.int() + kinds.entirely_incorrect.int()
    assert counts.tolist() == [1] * groups.count
    for number, prompt in enumerate(dict.fromkeys(prompts)):
        found = [rewards[i].item() for i, other in enumerate(prompts) if other == prompt]
        assert kinds.entirely_correct[number] == (set(found) == {1.0})
        assert kinds.entirely_incorrect[number] == (set(found) == {-1.0})


@given(st.integers(1, 12), st.integers(2, 33), st.integers(0, 10**6), st.booleans())
def test_grpo_is_verls_estimator_bit_for_bit(count, size, seed, shuffle):
    generator = torch.Generator().manual_seed(seed)
    rewards = (torch.randint(0, 2, (count * size,), generator=generator) * 2 - 1).float()
    entropies = torch.rand(count * size, generator=generator) * 3
    prompts = [f"prompt-{i // size}" for i in range(count * size)]
    if shuffle:
        order = torch.randperm(count * size, generator=generator)
        prompts = [prompts[i] for i in order]
    tokens, mask = as_tokens(entropies)
    token_rewards = torch.zeros_like(mask)
    token_rewards[:, 2] = rewards
    expected, _ = compute_grpo_outcome_advantage(token_rewards, mask, np.array(prompts, dtype=object))
    # EGPO with bounds (1, 1) and NSR off is GRPO, too; so is DAPO, on what its sampling leaves.
    flat = EGPO.model_copy(update={"lam_min": 1.0, "lam_max": 1.0, "nsr": False})
    for calibration in (GRPO, METHODS["dapo"].calibration, flat):
        ours = calibrate(rewards, tokens, mask, prompts, calibration).advantages
        assert torch.equal(ours[:, None] * mask, expected)


def test_nsr_gives_minus_one_to_hopeless_groups_only():
    rewards = torch.tensor([-1.0, -1.0, 1.0, 1.0, 1.0, -1.0])
    groups = Groups.of(["a", "a", "b", "b", "c", "c"])
    kinds = kinds_of(rewards > 0, groups)
    with_nsr, without = (base_advantage(rewards, groups, kinds, nsr) for nsr in (True, False))
    assert with_nsr[:4].tolist() == [-1, -1, 0, 0]
    assert without[:4].tolist() == [0, 0, 0, 0]
    assert torch.equal(with_nsr[4:], without[4:])
    assert with_nsr[4] == -with_nsr[5] and with_nsr[4] > 0.7


@pytest.mark.parametrize(("correct", "wrong"), [(1, -0.25), (4, -0.56), (8, -0.97), (15, -3.75)])
def test_nsr_is_not_on_the_scale_of_mixed_groups(correct, wrong):
    """What an incorrect response of a group of 16 gets, against NSR's -1 (equations.md)."""
    rewards = torch.tensor([1.0] * correct + [-1.0] * (16 - correct))
    step = calibrate(rewards, *as_tokens(torch.ones(16)), ["a"] * 16, EGPO)
    assert step.base[-1].item() == pytest.approx(wrong, abs=0.005)


@pytest.mark.parametrize(("reward", "nsr", "expected"), [(1, True, 0), (-1, True, -1), (1, False, 0), (-1, False, 0)])
def test_a_group_of_one_is_uniform(reward, nsr, expected):
    calibration = EGPO.model_copy(update={"nsr": nsr})
    step = calibrate(torch.tensor([float(reward)]), *as_tokens(torch.tensor([0.7])), ["a"], calibration)
    # Its entropy is the group's mean: the raw weight is 1 up to eps_H.
    assert step.advantages.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("reward", [0.5, 0.0, 2.0, float("nan"), float("inf")])
def test_rewards_other_than_plus_and_minus_one_are_refused(reward):
    with pytest.raises(ValueError, match=r"\+1 or -1"):
        calibrate(torch.tensor([1.0, reward]), *as_tokens(torch.ones(2)), ["a", "a"], EGPO)


# --- overlong shaping -------------------------------------------------------------------------------


def test_overlong_shaping_takes_off_at_most_its_penalty():
    rewards = torch.tensor([1.0, 0.5, 0.0, -1.0, -1.5, -2.0])
    assert outcomes(rewards, 1.0).tolist() == [True, True, True, False, False, False]
    with pytest.raises(ValueError, match=r"less at most 0.4.*\[-2.0, -1.5, 0.0, 0.5\]"):
        outcomes(rewards, 0.4)


def test_shaped_rewards_are_standardised_as_they_are():
    rewards = torch.tensor([1.0, 0.5, -1.0, -2.0])
    step = calibrate(rewards, *as_tokens(torch.ones(4)), ["a"] * 4, GRPO, penalty=1.0)
    torch.testing.assert_close(step.advantages, (rewards - rewards.mean()) / (rewards.std() + 1e-6))


def test_overlong_shaping_and_entropy_weights_exclude_each_other():
    with pytest.raises(ValidationError, match="take out overlong"):
        Method(label="x", calibration=EGPO, overlong_buffer=OverlongBuffer(len=8))


# --- weights, Eq. (7) to (9) --------------------------------------------------------------------------


@given(steps(), calibrations)
def test_what_each_option_promises(step, calibration):
    result = step_of(step, calibration)
    weights, correct = result.weights.values, result.correct
    hopeless = result.groups.spread(result.kinds.entirely_incorrect)
    assert torch.isfinite(weights).all() and (weights > 0).all()
    if calibration.lock == "entirely_incorrect":
        assert (weights[hopeless] == 1).all()
    if calibration.lock == "incorrect":
        assert (weights[~correct] == 1).all()
    if calibration.renorm == "after":
        return
    for mode, weight in ((calibration.correct, weights[correct]), (calibration.incorrect, weights[~correct])):
        if mode == "floor":
            assert (weight >= 1).all()
        if mode == "cap":
            assert (weight <= 1).all()
        if mode != "raw":
            assert (weight >= np.float32(calibration.lam_min)).all()
            assert (weight <= np.float32(calibration.lam_max)).all()


def invariant_holds(step, calibration: Calibration, outcome: str) -> bool:
    """Correct responses never below 1, or incorrect never above 1."""
    result = step_of(step, calibration)
    weights = result.weights.values
    return bool((weights[result.correct] >= 1).all() if outcome == "correct" else (weights[~result.correct] <= 1).all())


BROKEN = {  # Table 2: which side of the invariant each entry gives up
    "egpo": set(),
    "c1": {"correct", "incorrect"},
    "c2": {"correct"},
    "c3": {"incorrect"},
    "c4": set(),
    "c5": {"correct", "incorrect"},
    "c6": set(),
    "edge_grpo": {"correct", "incorrect"},
    "edge_grpo_clamped": {"correct", "incorrect"},
}


@pytest.mark.parametrize("outcome", ["correct", "incorrect"])
@pytest.mark.parametrize("method", BROKEN)
def test_each_method_breaks_what_the_paper_says_and_nothing_else(method, outcome):
    calibration = METHODS[method].calibration
    if outcome in BROKEN[method]:
        # Raises if there is no such step; the smallest one is not needed.
        any_will_do = settings(phases=[Phase.generate], max_examples=500)
        find(steps(), lambda step: not invariant_holds(step, calibration, outcome), settings=any_will_do)
        return

    @given(steps())
    def holds(step):
        assert invariant_holds(step, calibration, outcome)

    holds()


@given(steps())
def test_group_mean_of_raw_weights_is_at_least_one(step):
    """Arithmetic mean against harmonic mean: Eq. (7) is not scale-preserving, Eq. (9) restores the mean."""
    _, entropies, prompts = step
    groups = Groups.of(prompts)
    weights = raw_weights(entropies, groups, 1e-12)
    assert (groups.mean(weights) >= 1 - 1e-5).all()
    means = groups.mean(renormalised(weights, groups))
    torch.testing.assert_close(means, torch.ones_like(means), rtol=1e-5, atol=0)


@given(steps())
def test_in_hopeless_groups_the_mean_weight_is_at_most_one(step):
    result = step_of(step, EGPO)
    means = result.groups.mean(result.weights.values)
    assert (means[result.kinds.entirely_incorrect] <= 1).all()


@given(steps(), calibrations, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(step, calibration, random):
    rewards, entropies, prompts = step
    order = list(range(len(prompts)))
    random.shuffle(order)
    there = step_of(step, calibration).advantages
    shuffled = step_of((rewards[order], entropies[order], [prompts[i] for i in order]), calibration).advantages
    torch.testing.assert_close(shuffled, there[order], rtol=1e-5, atol=1e-6)


@given(steps(), steps(), calibrations)
def test_other_groups_do_not_matter(step, more, calibration):
    alone = step_of(step, calibration).advantages
    prompts = [*step[2], *[f"other-{prompt}" for prompt in more[2]]]
    together = step_of((torch.cat([step[0], more[0]]), torch.cat([step[1], more[1]]), prompts), calibration).advantages
    assert torch.equal(together[: len(alone)], alone)


@given(steps(), calibrations, st.integers(1, 9), st.integers(0, 10**6))
def test_padding_does_not_matter(step, calibration, columns, seed):
    rewards, entropies, prompts = step
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 6, (len(rewards),), generator=generator)
    tokens, mask = as_tokens(entropies, lengths)
    wider = torch.cat([tokens, torch.randn(len(rewards), columns, generator=generator)], dim=1)
    wider_mask = torch.cat([mask, torch.zeros(len(rewards), columns)], dim=1)
    torch.testing.assert_close(
        calibrate(rewards, wider, wider_mask, prompts, calibration).advantages,
        calibrate(rewards, tokens, mask, prompts, calibration).advantages,
        rtol=1e-5,
        atol=1e-6,
    )


@given(steps(), calibrations, st.floats(0.25, 4))
def test_scale_of_entropies_does_not_matter(step, calibration, factor):
    rewards, entropies, prompts = step
    small = calibration.model_copy(update={"eps_h": 1e-12})
    torch.testing.assert_close(
        step_of((rewards, entropies * factor, prompts), small).advantages,
        step_of(step, small).advantages,
        rtol=1e-4,
        atol=1e-5,
    )


@given(steps())
def test_equal_entropies_give_grpo_with_nsr(step):
    rewards, entropies, prompts = step
    result = step_of((rewards, torch.full_like(entropies, 2.0), prompts), EGPO)
    torch.testing.assert_close(result.weights.values, torch.ones_like(entropies), rtol=1e-5, atol=1e-5)


@given(steps(), calibrations)
def test_certain_policies_have_finite_weights(step, calibration):
    """All entropies 0: Eq. (7) gives 0 / eps_H."""
    result = step_of((step[0], torch.zeros_like(step[1]), step[2]), calibration)
    assert torch.isfinite(result.advantages).all()


# --- by hand ------------------------------------------------------------------------------------------


REWARDS = torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0, -1.0, 1.0, 1.0])
ENTROPIES = torch.tensor([1.0, 2.0, 3.0, 6.0, 1.0, 3.0, 1.0, 3.0])
PROMPTS = list("aaaabbcc")


def by_hand(method: str) -> Calibrated:
    """A mixed group of entropies 1, 2, 3, 6 with mean 3, its first and last response correct; an entirely-incorrect
    and an entirely-correct group, both of entropies 1 and 3."""
    return calibrate(REWARDS, *as_tokens(ENTROPIES), PROMPTS, METHODS[method].calibration)


# what (Eq. 7) is 3/1, 3/2, 3/3, 3/6 in the mixed group, and 2/1, 2/3 in the two others; its means are 1.5 and 4/3.
@pytest.mark.parametrize(
    ("method", "weights", "nsr"),
    [
        ("grpo", [1, 1, 1, 1, 1, 1, 1, 1], 0),
        ("dapo", [1, 1, 1, 1, 1, 1, 1, 1], 0),
        ("edge_grpo", [3, 1.5, 1, 0.5, 2, 2 / 3, 2, 2 / 3], 0),
        ("edge_grpo_clamped", [2, 1.5, 1, 0.5, 2, 2 / 3, 2, 2 / 3], 0),
        ("egpo", [2, 1, 1, 1, 1, 0.8, 2, 1], -1),
        ("c1", [2, 1.5, 1, 0.8, 2, 0.8, 2, 0.8], -1),
        ("c2", [2, 1, 1, 0.8, 1, 0.8, 2, 0.8], -1),
        ("c3", [2, 1.5, 1, 1, 2, 0.8, 2, 1], -1),
        ("c4", [2, 1, 1, 1, 1, 1, 2, 1], -1),
        ("c5", [2 / 1.25, 1 / 1.25, 1 / 1.25, 1 / 1.25, 1 / 0.9, 0.8 / 0.9, 2 / 1.5, 1 / 1.5], -1),
        ("c6", [2, 1, 0.8, 1, 1, 0.8, 1.5, 1], -1),  # what / mean: 2, 1, 2/3, 1/3 and 1.5, 0.5
    ],
)
def test_each_method_by_hand(method, weights, nsr):
    step = by_hand(method)
    std = (4 / 3) ** 0.5  # of 1, -1, -1, 1, unbiased
    base = [1 / std, -1 / std, -1 / std, 1 / std, nsr, nsr, 0, 0]
    torch.testing.assert_close(step.weights.values, torch.tensor(weights, dtype=torch.float32), rtol=1e-4, atol=0)
    torch.testing.assert_close(step.base, torch.tensor(base), rtol=1e-5, atol=0)
    expected = [weight * advantage for weight, advantage in zip(weights, base, strict=True)]
    torch.testing.assert_close(step.advantages, torch.tensor(expected), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("change", "weights"),
    [
        ({"lock": "incorrect"}, [2, 1, 1, 1, 1, 1, 2, 1]),  # C4's other reading
        ({"renorm": "before_clipped"}, [2 / 1.325, 1, 0.8, 1, 1, 0.8, 2 / 1.4, 1]),  # C6's: of 2, 1.5, 1, .8 and 2, .8
        ({"correct": "raw"}, [3, 1, 1, 0.5, 1, 0.8, 2, 2 / 3]),  # C2's: the unconstrained side raw
        ({"incorrect": "raw"}, [2, 1.5, 1, 1, 2, 2 / 3, 2, 1]),  # C3's
    ],
)
def test_open_points_of_table_2_by_hand(change, weights):
    step = calibrate(REWARDS, *as_tokens(ENTROPIES), PROMPTS, EGPO.model_copy(update=change))
    torch.testing.assert_close(step.weights.values, torch.tensor(weights, dtype=torch.float32), rtol=1e-3, atol=0)


def test_edge_grpo_is_the_base_divided_by_the_relative_entropy():
    """As its paper writes it: A_i / (P_i / mean(P))."""
    step = by_hand("edge_grpo")
    means = step.groups.spread(step.groups.mean(ENTROPIES))
    torch.testing.assert_close(step.advantages, step.base / (ENTROPIES / means), rtol=1e-4, atol=0)


# --- metrics -----------------------------------------------------------------------------------------


def test_metrics_by_hand():
    metrics = step_metrics(by_hand("egpo"))
    assert metrics["egpo/groups/mixed"] == metrics["egpo/groups/entirely_incorrect"] == pytest.approx(1 / 3)
    assert metrics["egpo/groups/entirely_correct"] == pytest.approx(1 / 3)
    assert metrics["egpo/weight/correct/mean"] == pytest.approx(6 / 4, rel=1e-4)
    assert metrics["egpo/weight/correct/max"] == 2
    assert metrics["egpo/weight/incorrect/min"] == pytest.approx(0.8)
    assert metrics["egpo/weight/entirely_incorrect/mean"] == pytest.approx(0.9)
    # 3 is cut to 2, .5 and 2/3 are raised to 1; 2 stays, as it is up to eps_H below its bound.
    assert metrics["egpo/weight/correct/at_bound"] == 3 / 4
    assert metrics["egpo/weight/incorrect/at_bound"] == 3 / 4  # 1.5 and 2 are cut to 1, 2/3 is raised to .8
    assert metrics["egpo/weight/entirely_incorrect/at_bound"] == 1
    assert metrics["egpo/entropy/gap"] == pytest.approx((2 + 3 + 1 + 3) / 4 - (1 + 6 + 1 + 3) / 4)
    assert metrics["egpo/entropy/undefined"] == 0
    mixed = (2 + 1 + 1 + 1) / (4 / 3) ** 0.5
    assert metrics["egpo/nsr_share"] == pytest.approx(1.8 / (1.8 + mixed), rel=1e-3)


def test_nsr_share_counts_tokens():
    lengths = torch.tensor([1, 1, 1, 1, 5, 5, 1, 1])
    step = calibrate(REWARDS, *as_tokens(ENTROPIES, lengths), PROMPTS, EGPO)
    mixed = (2 + 1 + 1 + 1) / (4 / 3) ** 0.5
    assert step_metrics(step)["egpo/nsr_share"] == pytest.approx(9 / (9 + mixed), rel=1e-3)


def test_metrics_leave_out_what_did_not_occur():
    step = calibrate(torch.ones(2), *as_tokens(torch.ones(2)), ["a", "a"], EGPO)
    metrics = step_metrics(step)
    assert metrics["egpo/nsr_share"] == 0
    assert not [name for name in metrics if ("incorrect" in name and "groups" not in name) or name.endswith("gap")]
