"""Supervised training on chat examples: what the warm-ups of all backbones share."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

IGNORED = -100  # label of the tokens that the loss leaves out
Messages = list[dict[str, str]]
Example = tuple[list[int], int]  # token ids of prompt and response, length of the prompt


def as_text(messages: Messages, tokenizer: PreTrainedTokenizerBase) -> str:
    """Messages in the chat template, up to where the model answers."""
    text: Any = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return text


def encode(messages: Messages, response: str, tokenizer: PreTrainedTokenizerBase) -> Example:
    """Messages in the chat template, and a response, which must have the text that ends it."""
    head = tokenizer.encode(as_text(messages, tokenizer), add_special_tokens=False)
    return head + tokenizer.encode(response, add_special_tokens=False), len(head)


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
    model: PreTrainedModel, ids: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens,) negative log-probability of each labelled token, and (tokens,) its row in the batch."""
    decoder: Any = model.get_decoder()
    hidden = decoder(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    learned = labels[:, 1:] != IGNORED
    # Logits of the labelled tokens alone: a quarter of the work, or more, is the vocabulary.
    head: Any = model.get_output_embeddings()
    logits = head(hidden[learned]).float()
    if cap := getattr(model.config, "final_logit_softcapping", None):  # Gemma 2
        logits = cap * torch.tanh(logits / cap)
    return cross_entropy(logits, labels[:, 1:][learned], reduction="none"), learned.nonzero()[:, 0]


def backward_on(model: PreTrainedModel, parts: list[list[Example]], pad: int) -> float:
    """Add the gradient of the mean loss per response token of a batch; returns that loss.

    Args:
        parts: the batch in parts, each of which is padded to its longest example.
        pad: id of the padding token.
    """
    tokens = sum(len(ids) - head for part in parts for ids, head in part)
    total = 0.0
    for part in parts:
        losses, _ = response_losses(model, *batch_of(part, pad))
        loss = losses.sum() / tokens
        loss.backward()
        total += loss.item()
    return total


def parts_of(examples: list[Example], part_tokens: int) -> list[list[Example]]:
    """The examples by length, in parts of at most `part_tokens` padded positions, or of one example."""
    parts: list[list[Example]] = []
    for one in sorted(examples, key=lambda example: len(example[0])):
        if parts and (len(parts[-1]) + 1) * len(one[0]) <= part_tokens:
            parts[-1].append(one)
        else:
            parts.append([one])
    return parts
