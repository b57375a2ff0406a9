"""Lengths in tokens, by the tokenizer and the chat template that training uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from egpo.boxed import last_boxed
from egpo.data.filters import Measured
from egpo.data.schema import Row
from egpo.data.verl_rows import prompt
from egpo.errors import UserError


def load_tokenizer(place: Path | str) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder (or of that name on the Hub), which must have a chat template."""
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(place))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{place}: no tokenizer can be loaded from here ({reason}). See data.tokenizer.") from error
    if not tokenizer.chat_template:
        raise UserError(f"{place}: this tokenizer has no chat template, so prompts have no form. See data.tokenizer.")
    return tokenizer


def _count(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[int]:
    if not texts:
        return []
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
    return [len(ids) for ids in encoded["input_ids"]]


def measure(rows: list[Row], tokenizer: PreTrainedTokenizerBase) -> list[Measured]:
    """The rows with their lengths; the tokenizer sees the whole list at once, which is faster."""
    chats = [prompt(row.problem) for row in rows]
    texts = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False) if chats else []
    prompts = _count(tokenizer, texts)
    boxed = [
        (index, text) for index, row in enumerate(rows) for text in row.generations if last_boxed(text) is not None
    ]
    shortest: dict[int, int] = {}
    for (index, _), length in zip(boxed, _count(tokenizer, [text for _, text in boxed]), strict=True):
        shortest[index] = min(length, shortest.get(index, length))
    return [Measured(row, prompts[index], shortest.get(index)) for index, row in enumerate(rows)]
