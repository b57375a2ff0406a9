"""Synthetic backbones: tiny Qwen2 models, and their training on correct generations."""

from __future__ import annotations

from random import Random
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from egpo.config.backbones import SyntheticModel
from egpo.data.verl_rows import prompt
from egpo.synthetic.choices import choice_prompt, letter_generation
from egpo.synthetic.muon import Muon
from egpo.synthetic.problems import (
    LEVELS,
    TAUGHT_WEIGHTS,
    Problem,
    correct_generation,
    draw_problem,
    without_think_tags,
)
from egpo.synthetic.tokenizer import END_OF_TURN

IGNORED = -100  # label of the tokens that the loss leaves out
RISE = 40  # steps in which the learning rate rises
MUON = 5  # its learning rate, to that of AdamW
DECAY = 0.95  # of the running average of the weights, per step
CHOICES = 0.06  # share of the examples that ask for a letter
PART = 8  # examples that are padded to one length
Messages = list[dict[str, str]]
Example = tuple[list[int], int]  # token ids of prompt and response, length of the prompt


def make_model(source: SyntheticModel, tokenizer: PreTrainedTokenizerFast, context: int) -> Qwen2ForCausalLM:
    """A Qwen2 model with random weights."""
    torch.manual_seed(source.seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=source.hidden_size,
        intermediate_size=2 * source.hidden_size,
        num_hidden_layers=source.num_hidden_layers,
        num_attention_heads=source.num_attention_heads,
        num_key_value_heads=source.num_attention_heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    return Qwen2ForCausalLM(config)


def as_text(messages: Messages, tokenizer: PreTrainedTokenizerFast) -> str:
    """Messages in the chat template, up to where the model answers."""
    text: Any = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return text


def encode(messages: Messages, generation: str, thinks: bool, tokenizer: PreTrainedTokenizerFast) -> Example:
    """Messages in the chat template, with a generation in DeepSeek-R1's format as the response."""
    response = generation.removeprefix("<think>\n") if thinks else without_think_tags(generation)
    head = tokenizer.encode(as_text(messages, tokenizer))
    return head + tokenizer.encode(response + END_OF_TURN), len(head)


def example(problem: Problem, rng: Random, thinks: bool, tokenizer: PreTrainedTokenizerFast) -> Example:
    """A problem with a correct response: mostly a box, sometimes the letter of an option."""
    if rng.random() < CHOICES:
        return encode(choice_prompt(problem), letter_generation(problem, rng), thinks, tokenizer)
    return encode(prompt(problem.text), correct_generation(problem, rng), thinks, tokenizer)


def batch_of(examples: list[Example], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Padded ids and labels, both (batch, longest); labels only on responses."""
    longest = max(len(ids) for ids, _ in examples)
    ids = torch.full((len(examples), longest), pad)
    labels = torch.full((len(examples), longest), IGNORED)
    for row, (tokens, head) in enumerate(examples):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, head : len(tokens)] = ids[row, head : len(tokens)]
    return ids, labels


def response_losses(
    model: Qwen2ForCausalLM, ids: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens,) negative log-probability of each labelled token, and (tokens,) its row in the batch."""
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
    learned = labels[:, 1:] != IGNORED
    # Logits of the labelled tokens alone: a quarter of the work is the vocabulary.
    logits = model.lm_head(hidden[learned])
    return cross_entropy(logits, labels[:, 1:][learned], reduction="none"), learned.nonzero()[:, 0]


class Teacher:
    """Supervised training of a model on correct generations of training wordings, without a planned end.

    The learning rate rises and then stays, so that training can stop at any step. What a falling rate would give, the
    running average of the weights gives at every step: it is the model to measure and to keep.
    """

    def __init__(
        self, model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, source: SyntheticModel, thinks: bool
    ) -> None:
        self._model, self._tokenizer, self._thinks = model, tokenizer, thinks
        self._batch = source.warm_up.batch_size
        self._rng = Random(f"warm-up {source.seed}")
        matrices = [parameter for parameter in model.model.layers.parameters() if parameter.ndim == 2]
        identities = set(map(id, matrices))
        others = [parameter for parameter in model.parameters() if id(parameter) not in identities]
        # With Muon the loss was as low after 80 steps as after 250 with AdamW alone.
        self._optimisers = (
            Muon(matrices, lr=MUON * source.warm_up.learning_rate),
            torch.optim.AdamW(others, lr=source.warm_up.learning_rate, weight_decay=0.01),
        )
        self._schedules = [
            torch.optim.lr_scheduler.LinearLR(optimiser, start_factor=1 / RISE, total_iters=RISE)
            for optimiser in self._optimisers
        ]
        self._average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(DECAY))

    @property
    def average(self) -> Qwen2ForCausalLM:
        average: Any = self._average.module
        return average

    def teach(self, steps: int) -> float:
        """Train for some steps; returns the mean loss per token of the last one."""
        self._model.train()
        loss = 0.0
        for _ in range(steps):
            loss = self._step()
        return loss

    def _examples(self) -> list[Example]:
        levels = self._rng.choices(LEVELS, TAUGHT_WEIGHTS, k=self._batch)
        problems = [draw_problem(self._rng, "train", level=level) for level in levels]
        return [example(problem, self._rng, self._thinks, self._tokenizer) for problem in problems]

    def _step(self) -> float:
        # Sorted, and padded in parts: the gradient is that of the whole batch, with less padding.
        examples = sorted(self._examples(), key=lambda one: len(one[0]))
        tokens = sum(len(ids) - head for ids, head in examples)
        total = 0.0
        for start in range(0, len(examples), PART):
            ids, labels = batch_of(examples[start : start + PART], self._tokenizer.pad_token_id)
            losses, _ = response_losses(self._model, ids, labels)
            loss = losses.sum() / tokens
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        for optimiser, schedule in zip(self._optimisers, self._schedules, strict=True):
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
        self._average.update_parameters(self._model)
        return total
