"""Attention over packed sequences without flash-attention; transformers knows it as "packed".

With use_remove_padding verl concatenates the sequences of a micro-batch to one row, in which the position ids of each
sequence begin at 0 (verl/workers/engine/fsdp/transformer_impl.py, prepare_model_inputs). flash-attention accepts such a
row. transformers' "sdpa" builds a mask of tokens x tokens for it, which is exact, but time and memory grow with the
square of the micro-batch. Here torch's scaled_dot_product_attention is called for each sequence, causal and without a
mask. On a GPU that runs torch's flash kernel, forward and backward; no package or compiler is needed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

NAME = "packed"


def lengths_of(position_ids: torch.Tensor) -> list[int]:
    """Lengths of the sequences in a packed row, in tokens.

    Args:
        position_ids: (1, tokens); each sequence counts from 0.

    Raises:
        ValueError: the first position is not 0.
    """
    known = getattr(position_ids, "_egpo_lengths", None)
    if known is None:
        starts = (position_ids[0] == 0).nonzero().flatten().tolist()
        if not starts or starts[0]:
            raise ValueError(
                "packed attention: the first position of a row is not 0; the sequences cannot be told apart"
            )
        known = [end - start for start, end in zip(starts, [*starts[1:], position_ids.shape[1]], strict=True)]
        # All layers get this tensor: with the lengths kept, only the first one waits for the GPU.
        position_ids._egpo_lengths = known  # type: ignore[attr-defined]  # tensors take any attribute
    return known


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_ids: torch.Tensor | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each sequence, in the form of transformers' attention functions.

    Args:
        query: (rows, heads, tokens, width of a head).
        key, value: (rows, heads or fewer, tokens, width of a head).
        position_ids: (1, tokens) of a packed row. Several rows are assumed to be padded on the right, where causal
            attention needs no mask, as no token attends to later ones.

    Returns:
        (rows, tokens, heads, width of a head), and None for the weights.

    Raises:
        ValueError: the positions do not begin at 0, or the model has a sliding window, soft-capped scores or attention
            sinks (egpo.backbones.architecture.check_attention finds these before a training).
    """
    if getattr(module, "sliding_window", None) or softcap is not None or s_aux is not None:
        raise ValueError("packed attention is plain causal attention: set training.attention to another way")
    if position_ids is not None and query.shape[0] == position_ids.shape[0] == 1:
        lengths = lengths_of(position_ids)
    else:
        lengths = [query.shape[2]]
    queries, keys, values = (states.split(lengths, dim=2) for states in (query, key, value))
    grouped = query.shape[1] != key.shape[1]
    outputs = [
        scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped)
        for q, k, v in zip(queries, keys, values, strict=True)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def no_mask(attention_mask: torch.Tensor | None = None, **_: Any) -> None:
    """Replaces transformers' function of masks, as none is needed.

    Raises:
        ValueError: rows are padded on the left.
    """
    if attention_mask is not None and not attention_mask[:, 0].all():
        raise ValueError("packed attention: rows are padded on the left, which needs a mask")


def available(name: str) -> bool:
    """Whether the package that this attention needs is installed; True if it needs none.

    Args:
        name: transformers' attn_implementation.
    """
    from transformers.utils import import_utils

    version = name.removeprefix("flash_attention_")
    return not version.isdigit() or getattr(import_utils, f"is_flash_attn_{version}_available")()


def install() -> None:
    """Register the attention and its mask with transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, no_mask)
