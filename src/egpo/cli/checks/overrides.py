"""Checks of `training.overrides`: verl's keys, and those that are not to be overridden."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.config.backbones import Backbone
from egpo.config.methods import Method
from egpo.config.training import Training

# verl's settings that this workflow sets, with the key that decides them; "" where another value would break the run.
_ACTOR, _ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
RESERVED = {
    "data.train_batch_size": "training.train_batch_size",
    f"{_ACTOR}.ppo_mini_batch_size": "training.train_batch_size",
    f"{_ROLLOUT}.n": "training.rollouts_per_prompt",
    f"{_ROLLOUT}.temperature": "training.temperature",
    f"{_ROLLOUT}.top_p": "training.top_p",
    f"{_ROLLOUT}.top_k": "training.top_k",
    f"{_ROLLOUT}.gpu_memory_utilization": "training.gpu_memory_utilization",
    f"{_ACTOR}.optim.lr": "training.learning_rate",
    "trainer.total_training_steps": "training.total_training_steps",
    "trainer.total_epochs": "training.total_epochs",
    "trainer.save_freq": "training.save_freq",
    "trainer.test_freq": "training.test_freq",
    "trainer.logger": "trackers",
    "trainer.nnodes": "training.nodes",
    "trainer.n_gpus_per_node": "training.gpus_per_node",
    "trainer.device": "training.platform",
    "data.seed": "training_seeds",
    "actor_rollout_ref.model.trust_remote_code": "",
    "data.trust_remote_code": "",
    "data.max_prompt_length": "max_prompt_length of the backbone",
    "data.max_response_length": "max_response_length of the backbone",
    f"{_ACTOR}.clip_ratio": "clip_ratio_low and clip_ratio_high of the method",
    f"{_ACTOR}.clip_ratio_low": "clip_ratio_low of the method",
    f"{_ACTOR}.clip_ratio_high": "clip_ratio_high of the method",
    f"{_ACTOR}.clip_ratio_c": "clip_ratio_c of the method",
    "algorithm.filter_groups": "dynamic_sampling of the method",
    "algorithm.egpo": "calibration of the method",
    "algorithm.adv_estimator": "",
    "algorithm.rollout_correction.bypass_mode": "",
    "algorithm.use_kl_in_reward": "",
    "actor_rollout_ref.model.path": "",
    f"{_ACTOR}.checkpoint": "",
    f"{_ROLLOUT}.name": "",
    "data.train_files": "",
    "data.val_files": "",
    "egpo_run": "",
    "reward.custom_reward_function": "",
    "trainer.default_local_dir": "",
    "trainer.resume_mode": "",
    "trainer.v1.trainer_mode": "",
}


def _flat(settings: dict[str, Any], above: str = "") -> Iterator[str]:
    """Dotted keys of nested settings."""
    for key, value in settings.items():
        dotted = f"{above}{key.removeprefix('+')}"
        yield dotted
        if isinstance(value, dict):
            yield from _flat(value, f"{dotted}.")


def overrides(training: Training, backbone: Backbone, where: str) -> Iterator[str]:
    """Keys that are reserved, nested, or unknown to verl."""
    for key in _flat(training.overrides):
        reserved = next((name for name in RESERVED if key == name or key.startswith(f"{name}.")), None)
        if reserved is not None:
            instead = RESERVED[reserved]
            remedy = f"set {instead}" if instead else "take it out: the workflow depends on its value"
            yield f"{where}training.overrides.{key}: cannot be overridden; {remedy}."
    for key, value in training.overrides.items():
        if isinstance(value, dict) and "." not in key and not key.startswith("+"):
            example = f"{key}.{next(iter(value), 'name')}: value"
            yield f"{where}training.overrides.{key}: write dotted keys, such as {example}."
    # Hydra takes a second: so only with overrides.
    from egpo.training.settings import verl_config

    try:
        verl_config(training, Method.model_validate({"label": "any"}), backbone, ROOT, ROOT, ROOT, 1, ROOT)
    except UserError as error:
        yield f"{where}{error}"
