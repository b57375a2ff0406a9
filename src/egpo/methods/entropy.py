"""The entropy proxy of a response, Eq. (5)."""

from __future__ import annotations

import torch


def response_entropy(old_log_probs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """H_i = -(1/T_i) sum_t log pi_old(y_it | x, y_i<t), in nats per token: (n,) float32.

    old_log_probs: (n, longest) log-probabilities of the sampled tokens under the behaviour policy.
    mask: (n, longest), 1 for the response's own tokens. What stands elsewhere is not read.

    Raises ValueError for an empty response and for a log-probability that is not finite.
    """
    inside = mask.bool()
    lengths = inside.sum(dim=1)
    empty = torch.nonzero(lengths == 0).flatten().tolist()
    if empty:
        raise ValueError(f"responses {empty[:5]} have no token in their mask: their entropy is undefined")
    if old_log_probs.shape != mask.shape:
        raise ValueError(f"log-probabilities {tuple(old_log_probs.shape)} and mask {tuple(mask.shape)} differ in shape")
    log_probs = torch.where(inside, old_log_probs.float(), 0.0)
    if not torch.isfinite(log_probs).all():
        bad = torch.nonzero(~torch.isfinite(log_probs).all(dim=1)).flatten().tolist()
        raise ValueError(f"responses {bad[:5]} hold log-probabilities that are not finite: the policy has diverged")
    return -log_probs.sum(dim=1) / lengths
