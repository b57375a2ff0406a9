"""Entropy of a response, by Eq. (5) or as in EDGE-GRPO, and the parts of a response that it can be averaged over."""

from __future__ import annotations

import torch


def response_entropy(token_entropies: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the tokens of each response, in nats per token: (n,) float32, nan where the mask has no token.

    Args:
        token_entropies: (n, longest), of each token either -log pi_old(y_t | x, y_<t), which gives H_i of Eq. (5), or
            the Shannon entropy of pi_old(. | x, y_<t), which gives EDGE-GRPO's P_i (arXiv 2507.21848).
        mask: (n, longest), 1 for the tokens that count. Other tokens are not read.

    Raises:
        ValueError: if shapes differ, or a token's entropy is not finite.
    """
    if token_entropies.shape != mask.shape:
        raise ValueError(f"token entropies {tuple(token_entropies.shape)} and mask {tuple(mask.shape)} differ in shape")
    inside = mask.bool()
    entropies = torch.where(inside, token_entropies.float(), 0.0)
    sums = entropies.sum(dim=1)  # not finite if one of them is not
    if not torch.isfinite(sums).all():
        bad = torch.nonzero(~torch.isfinite(sums)).flatten().tolist()
        raise ValueError(f"responses {bad[:5]} hold log-probabilities that are not finite: the policy has diverged")
    return sums / inside.sum(dim=1)  # 0 / 0 is nan


def scope_mask(responses: torch.Tensor, mask: torch.Tensor, scope: str, end_of_thought: int) -> torch.Tensor:
    """The tokens of a part of each response: (n, longest) bool.

    Args:
        responses: (n, longest) token ids.
        mask: (n, longest), 1 for the tokens of the response.
        scope: "thinking" is every token up to and including the first `end_of_thought`, "answer" every token after
            it. A response without that token is all thinking.
        end_of_thought: token id.
    """
    inside = mask.bool()
    ends = (responses == end_of_thought) & inside
    ended_before = torch.cumsum(ends, dim=1) - ends.long() > 0  # the first end itself belongs to the thinking
    if scope == "thinking":
        return inside & ~ended_before
    if scope == "answer":
        return inside & ended_before
    raise ValueError(f"scope must be 'thinking' or 'answer', not '{scope}'")
