"""Synthetic problems and backbones."""

from __future__ import annotations

import copy
import filecmp
import math
import subprocess
import sys
import textwrap
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from egpo.backbones.sampling import group_shares, sample_responses
from egpo.backbones.supervised import IGNORED, as_text, batch_of
from egpo.common.answer_letters import chosen_letter
from egpo.common.answers import answers_equivalent, extract_boxed
from egpo.common.files import read_json
from egpo.config.backbones import Backbone, SyntheticModel, WarmUp
from egpo.data.verl_rows import prompt
from egpo.synthetic import backbone as make
from egpo.synthetic import warm_up
from egpo.synthetic.choices import LETTERS, choice_prompt, letter_generation, options
from egpo.synthetic.pass_rate import expected_shares, right_probabilities, shortcomings
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
from egpo.synthetic.warm_up import Teacher, encode, example, make_model

WARM_UP = WarmUp(steps=1, batch_size=6, learning_rate=1e-3)
SMALL = SyntheticModel(
    kind="synthetic", seed=5, num_hidden_layers=1, hidden_size=32, num_attention_heads=2, warm_up=WARM_UP
)


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


@given(st.integers(), st.sampled_from(LEVELS))
def test_a_question_with_options_has_one_right_letter(seed, level):
    rng = Random(seed)
    problem = draw_problem(rng, "train", level=level)
    choices, place = options(problem)
    assert choices.count(problem.answer) == 1 and choices[place] == problem.answer
    assert f"{LETTERS[place]}) {problem.answer}" in choice_prompt(problem)[0]["content"].splitlines()
    generation = letter_generation(problem, rng)
    assert generation.startswith("<think>\n") and chosen_letter(generation) == LETTERS[place]
    assert without_think_tags(generation).endswith(f"={problem.answer}. ANSWER: {LETTERS[place]}")


@pytest.mark.parametrize("thinks", [False, True])
def test_some_examples_ask_for_a_letter(thinks):
    tokenizer = make_tokenizer(thinks, seed=1, context=512)
    rng = Random(3)
    texts = [tokenizer.decode(example(draw_problem(rng, "train"), rng, thinks, tokenizer)[0]) for _ in range(300)]
    letters = [text for text in texts if "multiple choice" in text]
    assert len(letters) == pytest.approx(300 * warm_up.CHOICES, rel=0.5)
    assert all("ANSWER: " in text.split("assistant")[-1] and "boxed" not in text for text in letters)


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
    tokenizer = make_tokenizer(False, 5, 128)
    first, second = (make_model(SMALL, tokenizer, 128).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_group_shares_and_shortcomings():
    right = torch.tensor([[1, 1], [0, 1], [0, 0], [0, 0]]).bool()
    shares = group_shares(right)
    assert shares == {"pass_rate": 0.375, "mixed": 0.25, "entirely_correct": 0.25, "entirely_incorrect": 0.5}
    warm_up = WARM_UP.model_copy(update={"pass_rate": (0.2, 0.7)})
    assert shortcomings(shares, warm_up) == []
    assert shortcomings(group_shares(torch.ones(4, 2).bool()), warm_up) == [
        "pass rate 1.00 is outside 0.2 to 0.7",
        "mixed groups are 0.00 of all, less than 0.1",
        "entirely incorrect groups are 0.00 of all, less than 0.1",
    ]


def test_expected_shares_are_the_mean_of_sampled_ones():
    chances = torch.tensor([0.0, 0.2, 0.9, 1.0])
    expected = expected_shares(chances, rollouts=4)
    torch.manual_seed(0)
    sampled = [group_shares(torch.rand(4, 4) < chances[:, None]) for _ in range(2000)]
    for name, value in expected.items():
        assert value == pytest.approx(sum(shares[name] for shares in sampled) / len(sampled), abs=0.02)


@pytest.fixture(scope="module", params=[False, True])
def untaught(request):
    """(model, tokenizer, thinks) of a random model of a few weights."""
    tokenizer = make_tokenizer(request.param, 5, 512)
    return make_model(SMALL, tokenizer, 512), tokenizer, request.param


def test_the_probability_of_the_right_responses_is_that_of_their_tokens(untaught):
    model, tokenizer, thinks = untaught
    problem = draw_problem(Random(1), "train", level=3)
    (found,) = right_probabilities(model, tokenizer, [problem], thinks)
    expected = 0.0
    for worked in (0.0, 1.0):
        generation = correct_generation(problem, Random(0), worked)
        tokens, head = encode(prompt(problem.text), generation, thinks, tokenizer)
        with torch.no_grad():
            logs = model(torch.tensor([tokens])).logits[0].double().log_softmax(-1)
        expected += math.exp(sum(logs[at - 1, tokens[at]].item() for at in range(head, len(tokens))))
    assert found.item() == pytest.approx(expected, rel=1e-3)


def test_sampled_responses_are_those_of_the_model(untaught):
    """Prompts of several lengths: each next token must follow its own prompt and response alone."""
    model, tokenizer, _ = untaught
    sure = copy.deepcopy(model)
    with torch.no_grad():  # so sure of itself that sampling is greedy
        sure.model.norm.weight *= 1e4
    rng = Random(2)
    asked = [as_text(prompt(draw_problem(rng, "train").text), tokenizer) for _ in range(5)]
    responses = sample_responses(sure, tokenizer, asked, 2, 12, seed=0)
    assert len(responses) == 10
    for number, text in enumerate(asked):
        inputs = torch.tensor([tokenizer.encode(text)])
        output = sure.generate(inputs, do_sample=False, max_new_tokens=12, attention_mask=torch.ones_like(inputs))
        expected = tokenizer.decode(output[0, inputs.shape[1] :], skip_special_tokens=True)
        assert responses[2 * number] == responses[2 * number + 1] == expected


def test_the_gradient_of_the_parts_is_that_of_the_batch(monkeypatch):
    """A batch in parts, each padded by itself, gives the weights that one part gives."""
    tokenizer = make_tokenizer(False, 5, 512)
    found = []
    for part in (2, 100):
        monkeypatch.setattr(warm_up, "PART", part)
        model = make_model(SMALL, tokenizer, 512)
        Teacher(model, tokenizer, SMALL, False).teach(2)
        found.append(model.state_dict())
    for name, weights in found[0].items():
        assert torch.allclose(weights, found[1][name], atol=1e-5), name


def outcome_of(rates: list[float], **changes) -> tuple[make.Outcome, list[int], list[str]]:
    """Where a warm-up ends that teaches nothing, its steps, and its lines.

    Unit test with a fake of the measurements: `rates` are their pass rates, one after the other.
    """
    settings = WARM_UP.model_copy(update={"steps": 5 * WARM_UP.measure_every, "pass_rate": (0.4, 0.7), **changes})
    taught, lines = [], []
    every = {"mixed": 0.4, "entirely_correct": 0.3, "entirely_incorrect": 0.3}
    left = iter(rates)
    current = {}

    def fake_expectation() -> dict[str, float]:
        current.update(pass_rate=next(left), **every)
        return current

    def fake_lesson(steps: int) -> float:
        taught.append(steps)
        return 1.0

    outcome = make.teach_until_fair(fake_lesson, fake_expectation, lambda: dict(current), settings, lines.append)
    return outcome, taught, lines


@pytest.mark.parametrize(
    ("rates", "measurements", "fair"),
    [
        ([0.5], 1, True),
        ([0.2, 0.3, 0.5, 0.6], 3, True),  # the first in range
        ([0.2, 0.9, 0.5], 2, False),  # too good: more training would not help
        ([0.1] * 9, 5, False),  # the maximum of steps
    ],
)
def test_a_backbone_is_trained_until_it_is_a_fair_start(rates, measurements, fair):
    outcome, taught, lines = outcome_of(rates)
    assert taught == [WARM_UP.measure_every] * measurements and len(lines) == measurements
    assert outcome.steps == sum(taught)
    assert (outcome.missing == []) == fair
    assert outcome.shares["pass_rate"] == rates[measurements - 1]


def test_the_maximum_of_steps_need_not_be_a_multiple():
    outcome, taught, _ = outcome_of([0.1, 0.1], steps=WARM_UP.measure_every + 5)
    assert taught == [WARM_UP.measure_every, 5] and outcome.steps == WARM_UP.measure_every + 5


def test_an_outcome_says_what_it_found():
    fair, _, _ = outcome_of([0.5])
    assert fair.sentence == (
        "a fair start for reinforcement after 40 steps: pass rate 0.50, mixed 0.40, entirely correct 0.30, "
        "entirely incorrect 0.30"
    )
    poor, _, _ = outcome_of([0.1] * 9, group_share=0.35)
    assert poor.sentence.startswith(
        "after 200 steps not what the warm-up aims at: pass rate 0.10 is outside 0.4 to 0.7; entirely correct groups "
        "are 0.30 of all, less than 0.35; entirely incorrect groups are 0.30 of all, less than 0.35. The run goes on"
    )


def test_a_backbone_out_of_range_is_written_and_its_manifest_says_so(tmp_path):
    source = SMALL.model_copy(update={"warm_up": WARM_UP.model_copy(update={"pass_rate": (0.4, 0.7)})})
    sizes = {"max_model_len": 512, "max_prompt_length": 256, "max_response_length": 4, "max_evaluation_length": 16}
    backbone = Backbone(label="tiny", source=source, **sizes)
    lines = []
    make_tokenizer(False, 5, 512).save_pretrained(tmp_path / "tokenizer")
    make.write_backbone(backbone, tmp_path / "tokenizer", tmp_path / "model", tmp_path / "manifest.json", lines.append)
    manifest = read_json(tmp_path / "manifest.json")
    assert not manifest["in_range"] and manifest["steps"] == 1
    assert "pass rate 0.00 is outside 0.4 to 0.7" in manifest["found"]
    assert lines[-1] == manifest["found"]
    assert (tmp_path / "model" / "model.safetensors").exists()
