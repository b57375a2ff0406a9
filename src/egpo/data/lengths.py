"""Lengths in tokens, by the tokenizer and the chat template that training uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from egpo.common.answers import extract_boxed
from egpo.common.errors import UserError
from egpo.data.filters import ParsedRow
from egpo.data.schema import Row
from egpo.data.verl_rows import prompt

# A token of R1's texts has about 3 characters: a text is cut here and seldom has to be read to its end.
CHARACTERS_PER_TOKEN = 4


def load_tokenizer(place: Path | str) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder, or of that name on the Hub. Raises UserError if it has no chat template."""
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(place))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{place}: no tokenizer can be loaded from here ({reason}). See data.tokenizer.") from error
    if not tokenizer.chat_template:
        raise UserError(f"{place}: this tokenizer has no chat template, so there is no prompt. See data.tokenizer.")
    return tokenizer


def _count(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[int]:
    if not texts:
        return []
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
    return [len(ids) for ids in encoded["input_ids"]]


def _last_piece(text: str) -> int:
    """Bytes of the last word and of the blanks around it."""
    before = text.rsplit(None, 1)[0] if len(text.split(None, 1)) > 1 else ""
    return len(text[len(before) :].encode())


def counted(tokenizer: PreTrainedTokenizerBase, texts: list[str], limit: int) -> list[int]:
    """Tokens of each text, or limit + 1 if there are more: text far beyond the limit is not read."""
    heads = [text[: CHARACTERS_PER_TOKEN * limit] for text in texts]
    counts = _count(tokenizer, heads)
    # The word at the cut can have more tokens than in the whole text: at most one per byte.
    unsure = [
        index
        for index, (text, head) in enumerate(zip(texts, heads, strict=True))
        if len(head) < len(text) and counts[index] - _last_piece(head) <= limit
    ]
    for index, count in zip(unsure, _count(tokenizer, [texts[index] for index in unsure]), strict=True):
        counts[index] = count
    return [min(count, limit + 1) for count in counts]


def _shortest(
    rows: list[Row], boxes: list[tuple[str | None, ...]], tokenizer: PreTrainedTokenizerBase, limit: int
) -> list[int | None]:
    """For each row the tokens of its first boxed generation within the limit, the one of fewest characters first."""
    lengths: list[int | None] = [None] * len(rows)
    waiting = [
        sorted((text for text, box in zip(row.generations, found_boxes[1:], strict=True) if box is not None), key=len)
        for row, found_boxes in zip(rows, boxes, strict=True)
    ]
    turn = 0
    while asked := [
        index
        for index, texts in enumerate(waiting)
        if turn < len(texts) and ((length := lengths[index]) is None or length > limit)
    ]:
        for index, count in zip(
            asked, counted(tokenizer, [waiting[index][turn] for index in asked], limit), strict=True
        ):
            lengths[index] = count
        turn += 1
    return lengths


def parse(rows: list[Row], tokenizer: PreTrainedTokenizerBase, limit: int) -> list[ParsedRow]:
    """The rows with their boxes and lengths; the tokenizer gets many texts at once, which is faster.

    Args:
        limit: data.max_response_tokens. `response_tokens` is the length of a boxed generation within the limit, tried
            from the one of fewest characters on; limit + 1 if all boxed generations are longer; None if none has a box.
    """
    chats = [prompt(row.problem) for row in rows]
    texts: Any = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False) if chats else []
    prompts = _count(tokenizer, texts)
    boxes = [tuple(extract_boxed(text) for text in (row.solution, *row.generations)) for row in rows]
    responses = _shortest(rows, boxes, tokenizer, limit)
    return [ParsedRow(*fields) for fields in zip(rows, boxes, prompts, responses, strict=True)]
