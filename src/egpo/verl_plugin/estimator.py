"""The advantage estimator "egpo" for verl: every method of config/methods.yaml goes through it.

verl passes rewards, mask, prompt ids and `config.algorithm` to an estimator, but no log-probabilities. The trainer
(egpo.verl_plugin.trainer) passes the tokens' entropies through `handover`, in the same process and the same order of
rows. Settings are in `config.egpo` (the fields of egpo.config.methods.Calibration) and `config.egpo_penalty` (of
egpo.config.methods.OverlongBuffer).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from verl.trainer.ppo.core_algos import register_adv_est

from egpo.config.methods import Calibration
from egpo.methods.advantage import Calibrated, calibrate
from egpo.methods.metrics import step_metrics

NAME = "egpo"
PADDING = "pad"  # prefix of the prompt ids of verl's padding rows


@dataclass
class Handover:
    """What trainer and estimator exchange.

    Attributes:
        token_entropies, scope: as in egpo.methods.advantage.calibrate, (rows, longest); from the trainer.
        metrics, step, real: of the step, and which rows it is of; from the estimator.
    """

    token_entropies: torch.Tensor
    scope: torch.Tensor | None
    metrics: dict[str, float] = field(default_factory=dict)
    step: Calibrated | None = None
    real: np.ndarray | None = None


_HANDOVER: ContextVar[Handover | None] = ContextVar("egpo_handover", default=None)


@contextmanager
def handover(token_entropies: torch.Tensor, scope: torch.Tensor | None = None) -> Iterator[Handover]:
    """Pass the entropies to the estimator, which runs inside the block. Arguments are those of `Handover`."""
    parcel = Handover(token_entropies, scope)
    token = _HANDOVER.set(parcel)
    try:
        yield parcel
    finally:
        _HANDOVER.reset(token)


def calibration_of(algorithm: Any) -> Calibration:
    """The method's calibration in verl's `config.algorithm`."""
    return Calibration.model_validate(OmegaConf.to_container(algorithm.egpo, resolve=True))


def real_rows(index: np.ndarray) -> np.ndarray:
    """(rows,) booleans: False for the rows that verl adds to fill a batch.

    Args:
        index: (rows,) prompt ids.
    """
    return np.array([not str(uid).startswith(PADDING) for uid in index], dtype=bool)


@register_adv_est(NAME)
def compute_egpo_advantage(
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    config: Any,
    index: np.ndarray,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The calibrated advantage of each response, on each of its tokens.

    Args:
        token_level_rewards: (rows, longest), with a response's reward at one token and 0 elsewhere.
        response_mask: (rows, longest), 1 at the tokens of the response.
        config: verl's `config.algorithm`.
        index: (rows,) prompt ids.

    Returns:
        Advantages and returns, (rows, longest): the same tensor.

    Raises:
        ValueError: there is no `handover`, or its entropies have another shape.
    """
    parcel = _HANDOVER.get()
    if parcel is None:
        raise ValueError(
            "the estimator 'egpo' got no entropies: it needs the trainer 'egpo' (trainer.v1.trainer_mode=egpo)"
        )
    if parcel.token_entropies.shape != response_mask.shape:
        raise ValueError(
            f"entropies {tuple(parcel.token_entropies.shape)} do not match the mask {tuple(response_mask.shape)}"
        )
    real = real_rows(index)
    chosen = slice(None) if real.all() else torch.from_numpy(real)  # a slice copies nothing
    with torch.no_grad():
        step = calibrate(
            rewards=token_level_rewards[chosen].sum(dim=-1),
            token_entropies=parcel.token_entropies[chosen],
            mask=response_mask[chosen],
            prompts=list(index[real]),
            calibration=calibration_of(config),
            scope=None if parcel.scope is None else parcel.scope[chosen],
            penalty=config.egpo_penalty,
            seed=config.get("egpo_seed", 0),
        )
        scores = torch.zeros(len(index), dtype=torch.float32)
        scores[chosen] = step.advantages
        advantages = scores.unsqueeze(-1) * response_mask
    parcel.metrics.update(step_metrics(step))
    parcel.step, parcel.real = step, real
    return advantages, advantages
