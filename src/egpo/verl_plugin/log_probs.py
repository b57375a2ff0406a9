"""Log-probabilities of tokens from logits, where flash-attention's cross entropy is not installed.

verl 0.9.1 computes them by flash-attention's Triton kernel if it is installed, else row by row in the precision of the
logits (verl/utils/torch_functional.py, logprobs_from_logits_v2): with packed sequences a row is one token, and in bf16
the result has three digits. Eq. (5) sums these numbers. This function computes in torch what the kernel does: in
float32 from logits of any precision, some rows at a time.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

ROWS = 2048  # at a time: a few float32 copies of them are all the memory beside the logits


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor, inplace_backward: bool) -> torch.Tensor:
        chosen = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1).float()
        normaliser = torch.cat([part.float().logsumexp(-1) for part in logits.split(ROWS)])
        ctx.save_for_backward(logits, labels, normaliser)
        ctx.inplace_backward = inplace_backward
        return chosen - normaliser

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, labels, normaliser = ctx.saved_tensors
        result = logits if ctx.inplace_backward else torch.empty_like(logits)
        rows = (tensor.split(ROWS) for tensor in (logits, labels, normaliser, gradients[0], result))
        for part, label, norm, gradient, target in zip(*rows, strict=True):
            # d log p(label) / d logits = one_hot(label) - softmax(logits)
            change = (part.float() - norm.unsqueeze(-1)).exp_().neg_()
            change.scatter_add_(-1, label.unsqueeze(-1), torch.ones_like(change[:, :1]))
            target.copy_(change.mul_(gradient.unsqueeze(-1)))
        return result, None, None


def logprobs_from_logits(logits: torch.Tensor, labels: torch.Tensor, inplace_backward: bool = True) -> torch.Tensor:
    """Log-probability of each label under softmax(logits); replaces verl's function of this name.

    Args:
        logits: (..., vocabulary), of any floating-point precision.
        labels: (...), token ids.
        inplace_backward: let the backward pass overwrite the logits with their gradient, as flash-attention's does;
            False if the logits are read afterwards.

    Returns:
        (...), in nats, float32.
    """
    flat = logits.reshape(-1, logits.shape[-1])
    return _LogProbs.apply(flat, labels.reshape(-1), inplace_backward).view(labels.shape)


def install() -> None:
    """Replace verl's function, unless flash-attention is installed. verl's module must have been imported."""
    module: Any = sys.modules["verl.utils.torch_functional"]
    if not module.FLAH_ATTN_CROSS_ENTROPY_LOSS_AVAILABLE:
        module.logprobs_from_logits = logprobs_from_logits
