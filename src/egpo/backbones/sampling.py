"""Responses of a backbone by transformers, and which kinds of groups they make: what a training starts from."""

from __future__ import annotations

import torch
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from egpo.common.answers import answers_equivalent, extract_boxed

KINDS = ("mixed", "entirely_correct", "entirely_incorrect")
Shares = dict[str, float]  # pass rate and share of each kind of group


def group_shares(right: torch.Tensor) -> Shares:
    """Pass rate and shares of mixed, entirely-correct, entirely-incorrect groups of (problems, rollouts)."""
    passed = right.float().mean(dim=1)
    values = (passed, (passed > 0) & (passed < 1), passed == 1, passed == 0)
    return {name: value.float().mean().item() for name, value in zip(("pass_rate", *KINDS), values, strict=True)}


def _ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Ids of the tokens that end a response, which a model may have several of."""
    given = getattr(model.generation_config, "eos_token_id", None)
    ids = given if isinstance(given, list) else [given]
    return torch.tensor(sorted({number for number in (*ids, tokenizer.eos_token_id) if number is not None}))


@torch.no_grad()
def sample_responses(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: list[str],
    rollouts: int,
    response_tokens: int,
    seed: int,
) -> list[str]:
    """`rollouts` responses to each prompt at temperature 1.

    transformers' own `generate` reads a prompt once for each of its rollouts and carries finished ones to the end.
    """
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    ends = _ends(model, tokenizer)
    # The text has the special tokens of the template.
    inputs = tokenizer(asked, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt")
    mask = inputs["attention_mask"]
    position = (mask.cumsum(dim=1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    output = model(
        input_ids=inputs["input_ids"],
        attention_mask=mask,
        position_ids=position,
        past_key_values=cache,
        logits_to_keep=1,
    )
    cache.batch_repeat_interleave(rollouts)
    logits, mask = output.logits[:, -1].repeat_interleave(rollouts, 0), mask.repeat_interleave(rollouts, 0)
    position = position[:, -1:].repeat_interleave(rollouts, 0)
    rows = torch.arange(len(logits))
    tokens: list[list[int]] = [[] for _ in rows]
    for _ in range(response_tokens):
        chosen = torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)
        going = (~torch.isin(chosen[:, 0], ends)).nonzero()[:, 0]
        if not len(going):
            break
        cache.batch_select_indices(going)
        rows, chosen, mask, position = rows[going], chosen[going], mask[going], position[going] + 1
        for row, token in zip(rows.tolist(), chosen[:, 0].tolist(), strict=True):
            tokens[row].append(token)
        mask = pad(mask, (0, 1), value=1)
        output = model(input_ids=chosen, attention_mask=mask, position_ids=position, past_key_values=cache)
        logits = output.logits[:, -1]
    return tokenizer.batch_decode(tokens, skip_special_tokens=True)


def is_right(response: str, answer: str) -> bool:
    boxed = extract_boxed(response)
    return boxed is not None and answers_equivalent(boxed, answer)
