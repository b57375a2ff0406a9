"""Synthetic problems and backbones."""

from __future__ import annotations

import filecmp
import subprocess
import sys
import textwrap
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from egpo.common.answers import answers_equivalent, extract_boxed
from egpo.common.errors import UserError
from egpo.config.backbones import Backbone, SyntheticModel, WarmUp
from egpo.data.verl_rows import prompt
from egpo.synthetic import backbone as make
from egpo.synthetic.problems import (
    LEVELS,
    STORIES,
    SUMS,
    correct_generation,
    draw_problem,
    without_think_tags,
    wrong_generation,
)
from egpo.synthetic.tokenizer import END_OF_TURN, make_tokenizer
from egpo.synthetic.warm_up import IGNORED, batch_of, example, group_shares, make_model, shortcomings

WARM_UP = WarmUp(problems=10, steps=1, batch_size=2, learning_rate=1e-3)


@given(st.integers(), st.sampled_from(["train", "held-out"]), st.sampled_from(LEVELS))
def test_generations_say_what_they_claim(seed, split, level):
    rng = Random(seed)
    problem = draw_problem(rng, split, level=level)
    assert all(str(term) in problem.text for term in problem.terms)
    for text in (correct_generation(problem, rng), without_think_tags(correct_generation(problem, rng))):
        assert answers_equivalent(extract_boxed(text), problem.answer)
    assert not answers_equivalent(extract_boxed(wrong_generation(problem, rng)), problem.answer)


@given(st.integers(), st.sampled_from(LEVELS))
def test_every_step_of_a_worked_generation_is_true(seed, level):
    rng = Random(seed)
    thought = correct_generation(draw_problem(rng, "train", level=level), rng, worked=1.0)
    thought = thought.removeprefix("<think>\n").split("\n")[0]
    steps = thought.split(": ")[-1].split(", ")
    for step in steps:
        left, right = step.split("=")
        assert sum(map(int, left.split("+"))) == int(right)


def test_training_and_held_out_wordings_are_disjoint():
    for wordings in (SUMS, STORIES):
        assert not set(wordings["train"]) & set(wordings["held-out"])


@pytest.mark.parametrize("thinks", [False, True])
def test_tokenizer_round_trip_and_special_tokens(thinks):
    tokenizer = make_tokenizer(thinks, seed=1, context=512)
    text = "Déjà vu: 12 + 345 = 357 \\boxed{357}\n\t中文"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("357")) == 3, "a digit is a token"
    assert len(tokenizer.encode("\n")) == 1, "verl's reading of Qwen's chat template needs it"
    assert len(tokenizer.encode("<think></think>")) == 2
    asked = tokenizer.apply_chat_template(prompt("1 + 1?"), add_generation_prompt=True, tokenize=False)
    assert asked.endswith("<think>\n") == thinks
    assert tokenizer.eos_token == END_OF_TURN


def test_a_process_without_torch_makes_the_same_tokenizer(tmp_path):
    code = """
        import sys
        from egpo.runtime.without_torch import without_torch
        with without_torch():
            from egpo.synthetic.tokenizer import make_tokenizer
            make_tokenizer(True, 1, 512).save_pretrained(sys.argv[1])
        assert "torch" not in sys.modules
        import torch
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), tmp_path / "without"], check=True)
    make_tokenizer(True, 1, 512).save_pretrained(tmp_path / "with")
    names = sorted(file.name for file in (tmp_path / "with").iterdir())
    assert filecmp.cmpfiles(tmp_path / "with", tmp_path / "without", names, shallow=False) == (names, [], [])


@pytest.mark.parametrize("thinks", [False, True])
def test_loss_is_on_the_response_alone(thinks):
    tokenizer = make_tokenizer(thinks, seed=1, context=512)
    rng = Random(3)
    examples = [example(draw_problem(rng, "train"), rng, thinks, tokenizer) for _ in range(8)]
    ids, labels = batch_of(examples, tokenizer.pad_token_id)
    for row, (tokens, head) in enumerate(examples):
        learned = labels[row][labels[row] != IGNORED]
        assert learned.tolist() == tokens[head:] == ids[row, head : len(tokens)].tolist()
        assert tokens[-1] == tokenizer.eos_token_id
        assert ("</think>" in tokenizer.decode(learned)) == thinks


def test_same_seed_same_weights():
    source = SyntheticModel(
        kind="synthetic", seed=5, num_hidden_layers=1, hidden_size=32, num_attention_heads=2, warm_up=WARM_UP
    )
    tokenizer = make_tokenizer(False, 5, 128)
    first, second = (make_model(source, tokenizer, 128).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_group_shares_and_shortcomings():
    right = torch.tensor([[1, 1], [0, 1], [0, 0], [0, 0]]).bool()
    shares = group_shares(right)
    assert shares == {"pass_rate": 0.375, "mixed": 0.25, "entirely_correct": 0.25, "entirely_incorrect": 0.5}
    assert shortcomings(shares, WARM_UP) == []
    assert shortcomings(group_shares(torch.ones(4, 2).bool()), WARM_UP) == [
        "pass rate 1.00 is outside 0.2 to 0.7",
        "mixed groups are 0.00 of all, less than 0.1",
        "entirely_incorrect groups are 0.00 of all, less than 0.1",
    ]


@pytest.mark.parametrize(
    ("rates", "rounds", "fair"),
    [
        ([0.5], 1, True),
        ([0.2, 0.3, 0.5], 3, True),  # trained until it is in the range
        ([0.9], 1, False),  # too good: more training would not help
        ([0.1] * 20, 1 + make.MORE_ROUNDS, False),
    ],
)
def test_a_backbone_is_trained_until_it_is_a_fair_start(monkeypatch, tmp_path, rates, rounds, fair):
    """Unit test with a mock of the estimate: `rates` are its pass rates, one after the other."""
    backbone = Backbone.model_validate(
        {
            "label": "tiny",
            "source": {
                "kind": "synthetic",
                "num_hidden_layers": 1,
                "hidden_size": 32,
                "num_attention_heads": 2,
                "warm_up": {
                    "problems": 10,
                    "steps": 6,
                    "batch_size": 2,
                    "learning_rate": 1e-3,
                    "pass_rate": [0.4, 0.7],
                    "group_share": 0,
                },
            },
            "max_model_len": 512,
            "max_prompt_length": 256,
            "max_response_length": 16,
            "max_evaluation_length": 16,
        }
    )
    make_tokenizer(False, 1, backbone.max_model_len).save_pretrained(tmp_path / "tokenizer")
    left, taught = list(rates), []
    shares = {"mixed": 1.0, "entirely_correct": 1.0, "entirely_incorrect": 1.0}
    monkeypatch.setattr(make, "estimate_shares", lambda *_: {"pass_rate": left.pop(0), **shares})
    monkeypatch.setattr(make.Teacher, "round", lambda self, steps, share=1.0: taught.append((steps, share)))
    arguments = (backbone, tmp_path / "tokenizer", tmp_path / "model", tmp_path / "manifest.json", lambda _: None)
    if fair:
        make.write_backbone(*arguments)
        assert (tmp_path / "manifest.json").exists()
    else:
        with pytest.raises(UserError, match="not a fair start for reinforcement: pass rate"):
            make.write_backbone(*arguments)
    assert taught[0] == (6, 1.0) and taught[1:].count((1, 0.5)) == len(taught) - 1
    assert len(taught) == rounds
