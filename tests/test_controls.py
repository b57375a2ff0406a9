"""Controls: what each changes in a step, and that it changes nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from egpo.common.paths import ROOT
from egpo.config.files import read_yaml
from egpo.config.methods import Method
from egpo.data.verl_rows import verl_row
from egpo.methods.advantage import Calibrated, calibrate_responses
from egpo.training.shuffled import with_shuffled_answers

METHODS = {name: Method.model_validate(values) for name, values in read_yaml(ROOT / "config" / "methods.yaml").items()}
CONTROLS = {name: method for name, method in METHODS.items() if method.is_control}
OUTCOMES = st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=6)


def step(outcomes: list[list[bool]], name: str, seed: int = 1) -> Calibrated:
    correct = torch.tensor(outcomes).flatten()
    entropies = torch.rand(len(correct), generator=torch.Generator().manual_seed(7)) + 0.1
    prompts = [f"step1-{group}" for group, responses in enumerate(outcomes) for _ in responses]
    rewards = torch.where(correct, 1.0, -1.0)
    return calibrate_responses(
        rewards, entropies, torch.full_like(entropies, 9), prompts, METHODS[name].calibration, 0, seed
    )


def test_there_are_six_controls_and_their_labels_say_so():
    assert set(CONTROLS) == {
        *("random_reward", "shuffled_answers", "permuted_entropy"),
        *("constant_weight", "nsr_only", "egpo_without_nsr"),
    }
    assert all(method.label.startswith("Control") == method.is_control for method in METHODS.values())


@given(OUTCOMES)
def test_permuted_entropies_permute_the_weights_of_uniform_groups(outcomes):
    mine, plain = step(outcomes, "permuted_entropy"), step(outcomes, "egpo")
    assert torch.equal(mine.base, plain.base) and torch.equal(mine.entropies, plain.entropies)
    for group in range(len(outcomes)):
        rows = mine.groups.member == group
        if len(set(outcomes[group])) == 1:  # in mixed groups the clamp depends on the outcome
            torch.testing.assert_close(
                mine.weights.values[rows].sort().values, plain.weights.values[rows].sort().values
            )


@given(OUTCOMES)
def test_a_constant_weight_is_the_mean_of_egpos(outcomes):
    mine, plain = step(outcomes, "constant_weight"), step(outcomes, "egpo")
    assert mine.weights.values.unique().numel() == 1
    torch.testing.assert_close(mine.weights.values[0], plain.weights.values.mean())
    assert not mine.weights.at_bound.any()
    assert torch.equal(mine.base, plain.base)


@given(OUTCOMES)
def test_nsr_only_and_without_nsr_are_the_two_halves_of_egpo(outcomes):
    only, without, plain = (step(outcomes, name) for name in ("nsr_only", "egpo_without_nsr", "egpo"))
    wrong = plain.groups.spread(plain.kinds.entirely_incorrect)
    assert torch.equal(only.base, torch.where(wrong, -1.0, 0.0))
    assert torch.equal(without.advantages, torch.where(wrong, 0.0, plain.advantages))


@given(OUTCOMES)
def test_coins_know_nothing_of_the_responses_but_the_rate_of_their_group(outcomes):
    mine, again, other = (step(outcomes, "random_reward", seed) for seed in (1, 1, 2))
    assert torch.equal(mine.correct, again.correct)
    for group, responses in enumerate(outcomes):
        if len(set(responses)) == 1:  # a rate of 0 or 1 leaves no choice
            assert mine.correct[mine.groups.member == group].tolist() == responses
    reversed_order = step([responses[::-1] for responses in outcomes], "random_reward")
    assert torch.equal(mine.correct, reversed_order.correct), "the same rates, so the same coins"
    assert len(other.correct) == len(mine.correct)


def test_coins_fall_as_often_as_the_rate():
    found = torch.stack([step([[True, False, False, False]], "random_reward", seed).correct for seed in range(4000)])
    assert found.float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert found.float().mean(dim=0).tolist() == pytest.approx([0.25] * 4, abs=0.03)


@given(st.integers(2, 50), st.integers(0, 5))
def test_shuffled_answers_are_those_of_other_problems(count, seed):
    rows = [verl_row(f"problem {n}", str(n), uuid=str(n)) for n in range(count)]
    shuffled = with_shuffled_answers(rows, seed)
    answers = [row["reward_model"]["ground_truth"] for row in shuffled]
    assert sorted(answers) == sorted(str(n) for n in range(count))
    assert all(answer != str(n) for n, answer in enumerate(answers))
    assert [row["prompt"] for row in shuffled] == [row["prompt"] for row in rows]
    assert rows[0]["reward_model"]["ground_truth"] == "0", "the rows that are given stay as they are"


def test_a_group_keeps_its_draw_whatever_stands_beside_it():
    alone, among = step([[True, False, True, False]], "permuted_entropy"), None
    entropies = alone.entropies
    prompts = ["other"] * 4 + ["step1-0"] * 4
    rewards = torch.tensor([1.0, 1, 1, 1, 1, -1, 1, -1])
    among = calibrate_responses(
        rewards,
        torch.cat([torch.rand(4), entropies]),
        torch.full((8,), 9),
        prompts,
        METHODS["permuted_entropy"].calibration,
        0,
        1,
    )
    assert torch.equal(among.advantages[4:], alone.advantages)
