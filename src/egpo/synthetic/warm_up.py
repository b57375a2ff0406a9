"""Synthetic backbones: tiny Qwen2 models, trained on correct generations until they solve some problems."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from egpo.common.answers import answers_equivalent, extract_boxed
from egpo.config.backbones import Backbone, SyntheticModel, WarmUp
from egpo.data.verl_rows import prompt
from egpo.runtime.job import duration
from egpo.synthetic.problems import Problem, correct_generation, draw_problem, without_think_tags
from egpo.synthetic.tokenizer import END_OF_TURN

IGNORED = -100  # label of the tokens that the loss leaves out
Report = Callable[[str], None]
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


def example(problem: Problem, rng: Random, thinks: bool, tokenizer: PreTrainedTokenizerFast) -> Example:
    """A problem in the chat template, with a correct response."""
    generation = correct_generation(problem, rng)
    response = generation.removeprefix("<think>\n") if thinks else without_think_tags(generation)
    asked = tokenizer.apply_chat_template(prompt(problem.text), add_generation_prompt=True, tokenize=False)
    head = tokenizer.encode(asked)
    return head + tokenizer.encode(response + END_OF_TURN), len(head)


def batch_of(examples: list[Example], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Padded ids and labels, both (batch, longest); labels only on responses."""
    longest = max(len(ids) for ids, _ in examples)
    ids = torch.full((len(examples), longest), pad)
    labels = torch.full((len(examples), longest), IGNORED)
    for row, (tokens, head) in enumerate(examples):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, head : len(tokens)] = ids[row, head : len(tokens)]
    return ids, labels


class Teacher:
    """Supervised training of a model on correct generations of training wordings, in one round or more."""

    def __init__(
        self,
        model: Qwen2ForCausalLM,
        tokenizer: PreTrainedTokenizerFast,
        source: SyntheticModel,
        thinks: bool,
        report: Report,
    ) -> None:
        self._model, self._pad, self._report = model, tokenizer.pad_token_id, report
        self._batch, self._rate = source.warm_up.batch_size, source.warm_up.learning_rate
        self._rng = Random(f"warm-up {source.seed}")
        problems = [draw_problem(self._rng, "train") for _ in range(source.warm_up.problems)]
        self._corpus = [example(problem, self._rng, thinks, tokenizer) for problem in problems]
        self._optimiser = torch.optim.AdamW(model.parameters(), lr=self._rate, weight_decay=0.01)

    def round(self, steps: int, share: float = 1.0) -> None:
        """Train for some steps; the learning rate rises to `share` of the configured one and falls again."""
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, max_lr=share * self._rate, total_steps=steps, pct_start=0.1
        )
        self._model.train()
        start = time.monotonic()
        for step in range(1, steps + 1):
            # Random batches: with batches of equal lengths, a third less work, the model did not learn.
            ids, labels = batch_of(self._rng.sample(self._corpus, self._batch), self._pad)
            loss = self._model(input_ids=ids, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
            self._optimiser.step()
            schedule.step()
            self._optimiser.zero_grad()
            if step % 100 == 0 or step == steps:
                left = duration((time.monotonic() - start) / step * (steps - step))
                self._report(f"warm-up step {step}/{steps}, loss {loss.item():.3f}, {left} left")


@torch.no_grad()
def sample_groups(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    problems: list[Problem],
    rollouts: int,
    response_tokens: int,
    seed: int,
) -> torch.Tensor:
    """(problems, rollouts) bool: correctness of `rollouts` responses to each problem at temperature 1."""
    model.eval()
    torch.manual_seed(seed)
    tokenizer.padding_side = "left"
    asked = [
        tokenizer.apply_chat_template(prompt(problem.text), add_generation_prompt=True, tokenize=False)
        for problem in problems
        for _ in range(rollouts)
    ]
    inputs = tokenizer(asked, padding=True, return_tensors="pt")
    output = model.generate(  # type: ignore[misc]  # its mixin asks for a protocol that Qwen2 does not declare
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        do_sample=True,
        temperature=1.0,
        top_k=0,
        max_new_tokens=response_tokens,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    answers = [problem.answer for problem in problems for _ in range(rollouts)]
    right = [
        (boxed := extract_boxed(text)) is not None and answers_equivalent(boxed, answer)
        for text, answer in zip(texts, answers, strict=True)
    ]
    return torch.tensor(right).view(len(problems), rollouts)


def group_shares(right: torch.Tensor) -> dict[str, float]:
    """Pass rate and shares of mixed, entirely-correct, entirely-incorrect groups of (problems, rollouts)."""
    passed = right.float().mean(dim=1)
    return {
        "pass_rate": passed.mean().item(),
        "mixed": ((passed > 0) & (passed < 1)).float().mean().item(),
        "entirely_correct": (passed == 1).float().mean().item(),
        "entirely_incorrect": (passed == 0).float().mean().item(),
    }


def shortcomings(shares: dict[str, float], warm_up: WarmUp) -> list[str]:
    """Why reinforcement cannot start from a warmed-up backbone; empty if it can."""
    low, high = warm_up.pass_rate
    found = []
    if not low <= shares["pass_rate"] <= high:
        found.append(f"pass rate {shares['pass_rate']:.2f} is outside {low} to {high}")
    found += [
        f"{kind} groups are {shares[kind]:.2f} of all, less than {warm_up.group_share}"
        for kind in ("mixed", "entirely_correct", "entirely_incorrect")
        if shares[kind] < warm_up.group_share
    ]
    return found


def estimate_shares(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, backbone: Backbone, rollouts: int = 8
) -> dict[str, float]:
    """`group_shares` on 128 fresh problems, and the pass rate at each level of difficulty."""
    rng = Random("pass rate")
    problems = [draw_problem(rng, "train") for _ in range(128)]
    right = sample_groups(model, tokenizer, problems, rollouts, backbone.max_response_length, seed=0)
    shares = group_shares(right)
    for level in sorted({problem.level for problem in problems}):
        rows = torch.tensor([problem.level == level for problem in problems])
        shares[f"pass_rate_level_{level}"] = right[rows].float().mean().item()
    return shares
