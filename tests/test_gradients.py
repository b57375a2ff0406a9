"""Eq. (3), (14), (15) and (25) against autograd through verl's policy loss, on made-up ratios.

In a training with one mini-batch per rollout batch and one epoch, as in the paper's, the ratio is 1 and clipping
never acts: only made-up ratios show what the loss does.
"""

from __future__ import annotations

import math

import pytest
import torch
from small_runs import CATALOGUES, METHODS, compose
from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla
from verl.workers.config import FSDPActorConfig

EPS = 0.2
SAMPLED = 2  # y_t
LOGITS = torch.tensor([0.3, -1.1, 0.8, 0.1, -0.4], dtype=torch.float64)
BELOW, WITHIN, ABOVE, FAR = 0.7, 1.1, 1.5, 3.5  # of 1 - eps, of 1 - eps and 1 + eps, of 1 + eps; and of verl's 3


def actor(**changes) -> FSDPActorConfig:
    sizes = {"strategy": "fsdp2", "rollout_n": 2, "ppo_micro_batch_size_per_gpu": 1}
    return FSDPActorConfig(**{**sizes, "clip_ratio": EPS, "clip_ratio_low": EPS, "clip_ratio_high": EPS, **changes})


def ascent(ratio: float, advantage: float, config: FSDPActorConfig | None = None) -> torch.Tensor:
    """d objective / d z of one token: what gradient ascent adds to the logits, through verl's loss."""
    logits = LOGITS.clone().requires_grad_()
    log_prob = logits.log_softmax(0)[SAMPLED]
    old_log_prob = log_prob.detach() - math.log(ratio)
    as_batch = {"advantages": torch.tensor([[advantage]], dtype=torch.float64), "response_mask": torch.ones(1, 1)}
    loss, _ = compute_policy_loss_vanilla(
        old_log_prob.view(1, 1), log_prob.view(1, 1), loss_agg_mode="token-mean", config=config or actor(), **as_batch
    )
    loss.backward()
    return -logits.grad


def eq15(weight: float, ratio: float, sign: int = -1) -> torch.Tensor:
    """-w rho (1[v = y_t] - pi_v); with sign +1, Eq. (25) as it is printed."""
    hit = torch.zeros_like(LOGITS)
    hit[SAMPLED] = 1
    return sign * weight * ratio * (hit - LOGITS.softmax(0))


def eq14(weight: float, ratio: torch.Tensor) -> torch.Tensor:
    """-w max(rho, clip(rho, 1 - eps, 1 + eps)), the term of an entirely-incorrect group."""
    return -weight * torch.maximum(ratio, ratio.clamp(1 - EPS, 1 + EPS))


@pytest.mark.parametrize("weight", [0.8, 0.93, 1.0])
@pytest.mark.parametrize("ratio", [BELOW, WITHIN, ABOVE])
def test_verls_loss_is_eq_14_in_its_three_regions(ratio, weight):
    logits = LOGITS.clone().requires_grad_()
    log_prob = logits.log_softmax(0)[SAMPLED]
    rho = torch.exp(log_prob - (log_prob.detach() - math.log(ratio)))
    eq14(weight, rho).backward()
    torch.testing.assert_close(ascent(ratio, -weight), logits.grad)


@pytest.mark.parametrize("weight", [0.8, 1.0])
def test_below_the_clip_there_is_no_gradient(weight):
    assert not ascent(BELOW, -weight).any()


@pytest.mark.parametrize("weight", [0.8, 1.0])
@pytest.mark.parametrize("ratio", [WITHIN, ABOVE])
def test_within_and_above_the_clip_the_gradient_is_eq_15(ratio, weight):
    found = ascent(ratio, -weight)
    torch.testing.assert_close(found, eq15(weight, ratio))
    assert found[SAMPLED] < 0, "the sampled token is pushed down"
    assert (found[torch.arange(5) != SAMPLED] > 0).all(), "and all others up"
    assert found.sum().item() == pytest.approx(0)


@pytest.mark.parametrize("ratio", [WITHIN, ABOVE])
def test_eq_25_as_printed_has_the_wrong_sign(ratio):
    """The appendix prints (15) with a plus sign and says that the two agree: the gradient is its negative."""
    printed = eq15(1.0, ratio, sign=+1)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ascent(ratio, -1.0), printed)
    torch.testing.assert_close(ascent(ratio, -1.0), -printed)


def test_verls_dual_clip_departs_from_eq_14_above_3():
    """Case (iii) of (14) has no upper end; verl's loss is constant where A < 0 and rho > clip_ratio_c."""
    assert not ascent(FAR, -1.0).any()
    torch.testing.assert_close(ascent(FAR, -1.0, actor(clip_ratio_c=10.0)), eq15(1.0, FAR))


@pytest.mark.parametrize("ratio", [BELOW, WITHIN])
def test_a_positive_advantage_is_clipped_above_alone(ratio):
    """Eq. (3) for A > 0."""
    torch.testing.assert_close(ascent(ratio, 1.3), -eq15(1.3, ratio))
    assert not ascent(ABOVE, 1.3).any()


def test_the_advantages_weight_scales_the_gradient():
    torch.testing.assert_close(ascent(WITHIN, -0.8), 0.8 * ascent(WITHIN, -1.0))


def test_clips_of_every_method_reach_verls_loss():
    """DAPO's higher clip lets a ratio of 1.25 through, which the others cut off."""
    demo = CATALOGUES["demo"]
    for method in METHODS.values():
        config = compose(demo.experiment.training, method, demo.backbones["tiny-math"]).actor_rollout_ref.actor
        clips = {key: config[key] for key in ("clip_ratio", "clip_ratio_low", "clip_ratio_high", "clip_ratio_c")}
        assert bool(ascent(1.25, 1.0, actor(**clips)).any()) == (method.clip_ratio_high > 0.25)
        assert not ascent(0.75, -1.0, actor(**clips)).any()
