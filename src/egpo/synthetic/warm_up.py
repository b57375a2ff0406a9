"""Synthetic backbones: tiny Qwen2 models, and their training on correct generations."""

from __future__ import annotations

from random import Random
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from egpo.backbones import supervised
from egpo.backbones.supervised import Example, Messages, backward_on
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

RISE = 40  # steps in which the learning rate rises
MUON = 5  # its learning rate, to that of AdamW
DECAY = 0.95  # of the running average of the weights, per step
CHOICES = 0.06  # share of the examples that ask for a letter
PART = 8  # examples that are padded to one length


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


def encode(messages: Messages, generation: str, thinks: bool, tokenizer: PreTrainedTokenizerFast) -> Example:
    """Messages in the chat template, with a generation in DeepSeek-R1's format as the response."""
    response = generation.removeprefix("<think>\n") if thinks else without_think_tags(generation)
    return supervised.encode(messages, response + END_OF_TURN, tokenizer)


def example(problem: Problem, rng: Random, thinks: bool, tokenizer: PreTrainedTokenizerFast) -> Example:
    """A problem with a correct response: mostly a box, sometimes the letter of an option."""
    if rng.random() < CHOICES:
        return encode(choice_prompt(problem), letter_generation(problem, rng), thinks, tokenizer)
    return encode(prompt(problem.text), correct_generation(problem, rng), thinks, tokenizer)


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
        parts = [examples[start : start + PART] for start in range(0, len(examples), PART)]
        total = backward_on(self._model, parts, self._tokenizer.pad_token_id)
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        for optimiser, schedule in zip(self._optimisers, self._schedules, strict=True):
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
        self._average.update_parameters(self._model)
        return total
