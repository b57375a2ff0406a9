"""Worked examples, and the warm-up of tiny random models of several architectures with real tokenizers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mistral_common
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_runs import CATALOGUES
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma2Config, LlamaConfig, Qwen3Config

from egpo.backbones import warm_up
from egpo.backbones.examples import Worked, apart_from, read_worked, response_of, write_worked
from egpo.backbones.supervised import IGNORED, batch_of, encode, parts_of, response_losses
from egpo.common.answers import answers_equivalent, extract_boxed
from egpo.common.errors import UserError
from egpo.common.files import read_json
from egpo.config.backbones import Backbone, SupervisedWarmUp
from egpo.data.verl_rows import problem_of, prompt, verl_row

# Mistral's first tokenizer (SentencePiece, 32,000 tokens), which adds a beginning token, as Llama's does.
REAL = Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}[INST] {{ message['content'] }} "
    "[/INST]{% else %}{{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
SIZES: dict[str, Any] = {"vocab_size": 32000, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
CONFIGS = {
    "llama": LlamaConfig(**SIZES, num_attention_heads=2, num_key_value_heads=1),
    "qwen3": Qwen3Config(**SIZES, num_attention_heads=2, num_key_value_heads=1, head_dim=16, tie_word_embeddings=True),
    "gemma": Gemma2Config(**SIZES, num_attention_heads=2, num_key_value_heads=1, head_dim=16),
}


def settings(**changes: Any) -> SupervisedWarmUp:
    values = {"sets": [{"path": "nowhere.jsonl"}], "steps": 4, "batch_size": 2, "learning_rate": 1e-2}
    return SupervisedWarmUp.model_validate(values | changes)


def backbone(folder: Path, **changes: Any) -> Backbone:
    lengths = {"max_model_len": 256, "max_prompt_length": 96, "max_response_length": 48, "max_evaluation_length": 48}
    source = {"kind": "local", "path": str(folder)}
    return Backbone.model_validate({"label": "tiny", "source": source, **lengths, **changes})


# --- examples ------------------------------------------------------------------------------------


def test_a_worked_solution_ends_with_its_answer_in_a_box():
    solution = "She sold 48/2 = <<48/2=24>>24 clips in May.\nIn all 48+24 = <<48+24=72>>72.\n"
    text = response_of(solution, "72")
    assert text == "She sold 48/2 = 24 clips in May.\nIn all 48+24 = 72.\n\\boxed{72}"
    assert response_of("", "7") == "\\boxed{7}"
    assert response_of("So it is \\boxed{7}.", "7") == "So it is \\boxed{7}."


@given(st.text(st.characters(exclude_characters="\\{}"), max_size=60), st.integers(-999, 9999))
def test_every_response_has_the_answer_that_the_verifier_reads(solution, answer):
    boxed = extract_boxed(response_of(solution, str(answer)))
    assert boxed is not None and answers_equivalent(boxed, str(answer))


def test_columns_and_marks(tmp_path):
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    first.write_text(json.dumps({"question": "1+1?", "answer": "1+1=2\n#### 2"}) + "\n")
    rows = [{"problem": "2+2?", "answer": "4", "how": "2+2=4"}, {"problem": "no answer", "answer": "", "how": ""}]
    second.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = [
        {"path": str(first), "problem": "question", "answer_after": "####"},
        {"path": str(second), "solution": "how"},
        {"path": str(second)},
    ]
    said: list[str] = []
    found = read_worked(settings(sets=sets), said.append)
    assert [one.response for one in found] == ["1+1=2\n\\boxed{2}", "2+2=4\n\\boxed{4}", "\\boxed{4}"]
    assert said == ["2 of 5 examples have no problem or no answer and are left out"]
    with pytest.raises(UserError, match=r"warm_up\.sets\.solution: 'none' is not a column"):
        read_worked(settings(sets=[{"path": str(second), "solution": "none"}]), said.append)


def test_examples_near_a_question_are_left_out():
    text = "A farmer has {} cows and buys {} more cows at the market on a sunny day. How many cows does she have now?"
    examples = [Worked(text.format(3, 4), "7"), Worked("What is the area of a square of side 5?", "25")]
    said: list[str] = []
    kept = apart_from(examples, [text.format(8, 9)], CATALOGUES["demo"].experiment.data, said.append)
    assert kept == examples[1:] and "1 of 2 examples" in said[0]
    data = CATALOGUES["demo"].experiment.data
    none = data.model_copy(update={"decontamination": data.decontamination.model_copy(update={"rules": ()})})
    assert apart_from(examples, [text.format(8, 9)], none, said.append) == examples


# --- training ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    shutil.copy(REAL, folder / "tokenizer.model")
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer", **special}))
    made: Any = AutoTokenizer.from_pretrained(folder)
    assert len(made) == SIZES["vocab_size"] and made.encode("1")[0] == made.bos_token_id
    made.chat_template = TEMPLATE
    made.pad_token = made.eos_token
    return made


@pytest.fixture(params=CONFIGS)
def model(request) -> Any:
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(CONFIGS[request.param]).eval()


def test_a_prompt_has_one_beginning_token(tokenizer):
    ids, head = encode(prompt("1+1?"), f"2{tokenizer.eos_token}", tokenizer)
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id and tokenizer.decode(ids[head:-1]).strip() == "2"


def test_losses_are_transformers_own(model, tokenizer):
    examples = [encode(prompt(text), f"{text} = 2{tokenizer.eos_token}", tokenizer) for text in ("1+1", "12-10 or so")]
    ids, labels = batch_of(examples, tokenizer.pad_token_id)
    losses, rows = response_losses(model, ids, labels)
    with torch.no_grad():
        expected = model(input_ids=ids, labels=labels).loss
    assert losses.mean().item() == pytest.approx(expected.item(), rel=1e-5)
    assert len(rows) == int((labels[:, 1:] != IGNORED).sum())


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 100))
def test_parts_hold_every_example_and_keep_to_the_limit(lengths, limit):
    parts = parts_of([([0] * length, 0) for length in lengths], limit)
    assert sorted(len(ids) for part in parts for ids, _ in part) == sorted(lengths)
    assert all(len(part) == 1 or len(part) * max(len(ids) for ids, _ in part) <= limit for part in parts)


def test_every_example_comes_once_before_one_comes_again():
    examples = [([number], 0) for number in range(5)]
    seen = [ids[0] for batch in warm_up.batches(examples, settings(steps=5, batch_size=2)) for ids, _ in batch]
    assert sorted(seen[:5]) == sorted(seen[5:]) == list(range(5))


def test_a_warm_up_lowers_the_loss_and_writes_what_it_found(model, tokenizer, tmp_path):
    source, out = tmp_path / "source", tmp_path / "warm"
    model.save_pretrained(source)
    tokenizer.save_pretrained(source)
    rows = [{"problem": f"What is {number} + 1?", "answer": f"{number} + 1\n#### {number + 1}"} for number in range(30)]
    (tmp_path / "worked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    import pandas as pd

    held = [verl_row(f"Name the number after {number}.", str(number + 1), uuid=str(number)) for number in (50, 60)]
    assert problem_of(held[0]) == "Name the number after 50."
    pd.DataFrame(held).to_parquet(tmp_path / "validation.parquet")
    sets = [{"path": str(tmp_path / "worked.jsonl"), "answer_after": "####"}]
    warmed = backbone(source, warm_up={"sets": sets, "steps": 8, "batch_size": 4, "learning_rate": 3e-2})
    said: list[str] = []
    data = CATALOGUES["demo"].experiment.data
    examples, validation = tmp_path / "examples.jsonl", tmp_path / "validation.parquet"
    write_worked(warmed.warm_up, examples, said.append)
    warm_up.write_warm(warmed, source, examples, validation, [], {}, data, out, tmp_path / "manifest.json", said.append)
    found = read_json(tmp_path / "manifest.json")
    assert found["losses"][-1] < found["losses"][0] - 1
    assert found["before"]["pass_rate"] == 0 and len(found["responses"]) == 2
    assert {"problem", "answer", "response", "after"} == set(found["responses"][0])
    loaded, _ = warm_up.load(out)
    assert not torch.equal(loaded.get_input_embeddings().weight, model.get_input_embeddings().weight)
