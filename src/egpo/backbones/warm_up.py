"""A short supervised training of any backbone on worked examples, and what it solves before and after."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from egpo.backbones.examples import Worked, apart_from, written
from egpo.backbones.sampling import Shares, group_shares, is_right, sample_responses
from egpo.backbones.supervised import Example, as_text, backward_on, encode, parts_of
from egpo.common.errors import UserError
from egpo.common.files import write_json
from egpo.common.provenance import origin, stage_code
from egpo.config.backbones import Backbone, SupervisedWarmUp
from egpo.config.data import Data
from egpo.data.build import read_questions
from egpo.data.verl_rows import problem_of, prompt

Report = Callable[[str], None]
RISE = 0.1  # of the steps, in which the learning rate rises; then it falls to 0
PART_TOKENS = 1024  # positions that are computed at a time: more are no faster
MEASURED, ROLLOUTS = 32, 4  # problems of the validation rows, and responses to each, before and after
REPORT_SECONDS = 30


def load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model in float32 and its tokenizer, with a token for padding."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tokenizer


def encoded(
    examples: list[Worked], backbone: Backbone, tokenizer: PreTrainedTokenizerBase, report: Report
) -> list[Example]:
    """The examples that respect the limits of prompts and responses in training.

    Raises:
        UserError: if none does.
    """
    pairs = [encode(prompt(one.problem), f"{one.response}{tokenizer.eos_token}", tokenizer) for one in examples]
    kept = [
        (ids, head)
        for ids, head in pairs
        if head <= backbone.max_prompt_length and len(ids) - head <= backbone.max_response_length
    ]
    if not kept:
        raise UserError("warm_up.sets: every example is longer than max_prompt_length or max_response_length.")
    if len(kept) < len(pairs):
        report(f"{len(pairs) - len(kept)} of {len(pairs)} examples are longer than the limits and are left out")
    return kept


def batches(examples: list[Example], settings: SupervisedWarmUp) -> Iterator[list[Example]]:
    """A batch for each step; every example comes once before one comes again."""
    rng, waiting = Random(f"warm-up {settings.seed}"), list[Example]()
    for _ in range(settings.steps):
        while len(waiting) < settings.batch_size:
            waiting += rng.sample(examples, len(examples))
        yield waiting[: settings.batch_size]
        del waiting[: settings.batch_size]


def teach(
    model: PreTrainedModel, examples: list[Example], settings: SupervisedWarmUp, pad: int, report: Report
) -> list[float]:
    """Train the model; returns the loss per response token of each step."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0)
    rise = max(1, round(RISE * settings.steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / rise, (settings.steps - step) / (settings.steps - rise + 1))
    )
    model.train()
    losses: list[float] = []
    start = said = time.monotonic()
    for batch in batches(examples, settings):
        losses.append(backward_on(model, parts_of(batch, PART_TOKENS), pad))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        now = time.monotonic()
        if now - said > REPORT_SECONDS or len(losses) == settings.steps:
            pace = (now - start) / len(losses)
            report(f"warm-up step {len(losses)}/{settings.steps}, loss {losses[-1]:.3f}, {pace:.1f} s a step")
            said = now
    return losses


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: list[dict[str, Any]], response_tokens: int
) -> tuple[Shares, list[dict[str, str]]]:
    """Pass rate and kinds of groups on some validation rows, and the first response to each."""
    asked = [as_text(row["prompt"], tokenizer) for row in rows]
    answers = [row["reward_model"]["ground_truth"] for row in rows]
    responses = sample_responses(model, tokenizer, asked, ROLLOUTS, response_tokens, seed=0)
    of_each = [responses[start : start + ROLLOUTS] for start in range(0, len(responses), ROLLOUTS)]
    right = [[is_right(text, answer) for text in texts] for texts, answer in zip(of_each, answers, strict=True)]
    shown = [
        {"problem": row["prompt"][-1]["content"], "answer": answer, "response": texts[0]}
        for row, answer, texts in zip(rows, answers, of_each, strict=True)
    ]
    return group_shares(torch.tensor(right)), shown


def write_warm(
    backbone: Backbone,
    model: Path,
    worked: Path,
    validation: Path,
    apart: list[Path],
    questions: dict[str, Path],
    data: Data,
    folder: Path,
    manifest: Path,
    report: Report,
) -> None:
    """Warm a backbone up; write the model to `folder`, and a manifest with what it solves before and after.

    Args:
        model: folder of the model to start from.
        worked: the examples, from egpo.backbones.examples.write_worked.
        validation: rows to measure on.
        apart: files of other rows that no example may be near.
        questions: file of each benchmark's questions.
        data: its rules of decontamination count for the examples.

    Raises:
        UserError: no example is left.
    """
    settings = backbone.warm_up
    assert settings is not None, "the rule calls this for backbones with a warm-up only"
    rows = {file: pq.read_table(file).to_pylist() for file in (validation, *apart)}
    asked = [text for texts in read_questions(questions).values() for text in texts]
    asked += [problem_of(row) for split in rows.values() for row in split]
    examples = apart_from(written(worked), asked, data, report)
    network, tokenizer = load(model)
    taught = encoded(examples, backbone, tokenizer, report)
    measured = rows[validation][:MEASURED]
    report(f"{len(taught)} examples; measuring {len(measured)} problems before and after")
    before, first = measure(network, tokenizer, measured, backbone.max_response_length)
    losses = teach(network, taught, settings, tokenizer.pad_token_id, report)
    after, last = measure(network, tokenizer, measured, backbone.max_response_length)
    report(f"pass rate {before['pass_rate']:.2f} before, {after['pass_rate']:.2f} after; mixed {after['mixed']:.2f}")
    shutil.rmtree(folder, ignore_errors=True)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shown = [{**one, "after": other["response"]} for one, other in zip(first, last, strict=True)]
    found = {"before": before, "after": after, "losses": losses, "examples": len(taught), "responses": shown}
    files = [worked, *rows, *sorted(folder.glob("*.safetensors"))]
    write_json(manifest, {**found, **origin(backbone.model_dump(mode="json"), stage_code("backbone_teach"), files)})
