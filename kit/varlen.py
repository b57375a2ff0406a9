"""Attention over packed rows by torch's varlen_attn, which runs on GPUs only; the step `attention` times it.

If it is faster than egpo.verl_plugin.attention on a GPU, it may replace that.
"""

from __future__ import annotations

from typing import Any

import torch

from egpo.verl_plugin.attention import lengths_of, no_mask

NAME = "varlen"


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    position_ids: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Like egpo.verl_plugin.attention.packed_attention, for one packed row without dropout."""
    from torch.nn.attention.varlen import varlen_attn

    assert position_ids is not None
    lengths = torch.tensor(lengths_of(position_ids), device=query.device)
    bounds = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int()
    longest, repeat = int(lengths.max()), query.shape[1] // key.shape[1]
    states = (query, key.repeat_interleave(repeat, dim=1), value.repeat_interleave(repeat, dim=1))
    rows = [one[0].transpose(0, 1).contiguous() for one in states]
    output = varlen_attn(*rows, bounds, bounds, longest, longest, scale=scaling, window_size=(-1, 0))
    return output[None], None


def install() -> None:
    """Register the attention with transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, varlen_attention)
    AttentionMaskInterface.register(NAME, no_mask)
