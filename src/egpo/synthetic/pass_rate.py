"""How often a synthetic backbone solves problems, and in which groups: what a training with rewards starts from."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from random import Random

import torch
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from egpo.backbones.sampling import KINDS, Shares, group_shares, is_right, sample_responses
from egpo.backbones.supervised import as_text, batch_of, response_losses
from egpo.config.backbones import WarmUp
from egpo.data.verl_rows import prompt
from egpo.synthetic.problems import LEVELS, Problem, correct_generation, draw_problem
from egpo.synthetic.warm_up import encode

PROBLEMS, ROLLOUTS = 128, 8
BATCH = 32


def fixed_problems(weights: Sequence[float] | None = None) -> list[Problem]:
    """Problems in training wordings, the same at every measurement.

    Args:
        weights: shares of the levels, which the problems then have as nearly as their number allows; None to draw the
            levels like all training problems.
    """
    rng = Random("pass rate")
    levels: Sequence[int | None] = [None] * PROBLEMS
    if weights is not None:
        bounds = list(accumulate(weights))
        levels = [LEVELS[bisect(bounds, (place + 0.5) / PROBLEMS * bounds[-1])] for place in range(PROBLEMS)]
    return [draw_problem(rng, "train", level=level) for level in levels]


@torch.no_grad()
def right_probabilities(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, problems: list[Problem], thinks: bool
) -> torch.Tensor:
    """(problems,) probability at temperature 1 of the right responses that the corpus has for a problem.

    A model hardly ever finds a right answer in other words. One pass over these few responses takes a tenth of the
    time of sampling, and has no noise.
    """
    rng = Random(0)
    model.eval()
    asked = []
    for number, problem in enumerate(problems):
        forms = {correct_generation(problem, rng, worked) for worked in (0.0, 1.0)}
        asked += [(number, encode(prompt(problem.text), form, thinks, tokenizer)) for form in sorted(forms)]
    asked.sort(key=lambda one: len(one[1][0]))
    found = torch.zeros(len(problems))
    for start in range(0, len(asked), BATCH):
        part = asked[start : start + BATCH]
        losses, rows = response_losses(model, *batch_of([form for _, form in part], tokenizer.pad_token_id))
        logs = torch.zeros(len(part)).index_add_(0, rows, -losses)
        found.index_add_(0, torch.tensor([number for number, _ in part]), logs.exp())
    return found.clamp(max=1)


def expected_shares(chances: torch.Tensor, rollouts: int = ROLLOUTS) -> Shares:
    """Expected pass rate and shares of the kinds of groups, from the (problems,) probabilities of a right response."""
    correct, incorrect = chances**rollouts, (1 - chances) ** rollouts
    values = (chances, 1 - correct - incorrect, correct, incorrect)
    return {name: value.mean().item() for name, value in zip(("pass_rate", *KINDS), values, strict=True)}


def sampled_shares(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, problems: list[Problem], response_tokens: int
) -> Shares:
    """`group_shares` of sampled responses, and the pass rate at each level of difficulty."""
    asked = [as_text(prompt(problem.text), tokenizer) for problem in problems]
    responses = sample_responses(model, tokenizer, asked, ROLLOUTS, response_tokens, seed=0)
    answers = [problem.answer for problem in problems for _ in range(ROLLOUTS)]
    right = torch.tensor([is_right(*pair) for pair in zip(responses, answers, strict=True)]).view(-1, ROLLOUTS)
    shares = group_shares(right)
    for level in sorted({problem.level for problem in problems}):
        rows = torch.tensor([problem.level == level for problem in problems])
        shares[f"pass_rate_level_{level}"] = right[rows].float().mean().item()
    return shares


def shortcomings(shares: Shares, warm_up: WarmUp) -> list[str]:
    """What is out of the range that `warm_up` asks for; empty if nothing is."""
    low, high = warm_up.pass_rate
    found = []
    if not low <= shares["pass_rate"] <= high:
        found.append(f"pass rate {shares['pass_rate']:.2f} is outside {low} to {high}")
    found += [
        f"{kind.replace('_', ' ')} groups are {shares[kind]:.2f} of all, less than {warm_up.group_share}"
        for kind in KINDS
        if shares[kind] < warm_up.group_share
    ]
    return found
