"""verl's settings of one training: verl's defaults, then those of the method and the experiment."""

from __future__ import annotations

from copy import deepcopy
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from egpo.common.errors import UserError
from egpo.config.backbones import Backbone
from egpo.config.methods import Method, OverlongBuffer
from egpo.config.training import Training
from egpo.training.cpu import cpu_settings
from egpo.training.fit import Fit, fit, longest
from egpo.training.names import ACTOR, MODEL, ROLLOUT, SIZES
from egpo.training.progress import HEARTBEAT

# Epochs of a training that is limited by its number of steps.
UNLIMITED = 10**6


def _method(method: Method, backbone: Backbone) -> dict[str, Any]:
    return {
        "algorithm.adv_estimator": "egpo",
        "algorithm.egpo": method.calibration.model_dump(mode="json"),
        "algorithm.egpo_penalty": method.overlong_buffer.penalty_factor if method.overlong_buffer else 0.0,
        # The actor must compute the old log-probabilities, which Eq. (5) uses.
        "algorithm.rollout_correction.bypass_mode": False,
        "algorithm.use_kl_in_reward": False,
        "algorithm.filter_groups.enable": method.dynamic_sampling,
        "algorithm.filter_groups.metric": "acc",
        f"{ACTOR}.clip_ratio": method.clip_ratio_low,
        f"{ACTOR}.clip_ratio_low": method.clip_ratio_low,
        f"{ACTOR}.clip_ratio_high": method.clip_ratio_high,
        f"{ACTOR}.clip_ratio_c": method.clip_ratio_c,
        f"{ACTOR}.loss_agg_mode": "token-mean",
        f"{ACTOR}.use_kl_loss": False,
        f"{ACTOR}.entropy_coeff": 0,
        "trainer.v1.trainer_mode": "egpo",
        "reward.custom_reward_function.path": "pkg://egpo.verl_plugin.reward",
        "reward.custom_reward_function.name": "compute_score",
        **_overlong(method.overlong_buffer, backbone),
    }


def _overlong(overlong_buffer: OverlongBuffer | None, backbone: Backbone) -> dict[str, Any]:
    if overlong_buffer is None:
        return {}
    if overlong_buffer.len >= backbone.max_response_length:
        raise UserError(
            f"overlong_buffer.len: {overlong_buffer.len} tokens, which is not less than the "
            f"{backbone.max_response_length} of a response of {backbone.label}: set it lower."
        )
    return {
        "reward.reward_manager.name": "dapo",
        "reward.reward_kwargs": {
            "max_resp_len": backbone.max_response_length,
            "overlong_buffer_cfg": {
                "enable": True,
                "len": overlong_buffer.len,
                "penalty_factor": overlong_buffer.penalty_factor,
                "log": False,
            },
        },
    }


def _experiment(training: Training, backbone: Backbone, seed: int) -> dict[str, Any]:
    return {
        "data.train_batch_size": training.train_batch_size,
        "data.max_prompt_length": backbone.max_prompt_length,
        "data.max_response_length": backbone.max_response_length,
        # The data stage has removed prompts that are too long: one here is an error.
        "data.truncation": "error",
        "data.shuffle": True,
        "data.seed": seed,
        f"{ACTOR}.optim.lr": training.learning_rate,
        f"{ACTOR}.ppo_mini_batch_size": training.train_batch_size,
        f"{ACTOR}.ppo_epochs": 1,
        f"{ACTOR}.use_dynamic_bsz": True,
        f"{ACTOR}.strategy": "fsdp2",
        f"{MODEL}.use_remove_padding": True,
        f"{MODEL}.override_config": {"attn_implementation": training.attention},
        f"{ACTOR}.data_loader_seed": seed,
        f"{ACTOR}.fsdp_config.seed": seed,
        # The exported model is taken from the last checkpoint.
        f"{ACTOR}.checkpoint.save_contents": ["model", "optimizer", "extra", "hf_model"],
        f"{ACTOR}.checkpoint.load_contents": ["model", "optimizer", "extra"],
        f"{ROLLOUT}.name": "vllm",
        f"{ROLLOUT}.n": training.rollouts_per_prompt,
        f"{ROLLOUT}.temperature": training.temperature,
        f"{ROLLOUT}.top_p": training.top_p,
        f"{ROLLOUT}.top_k": training.top_k,
        f"{ROLLOUT}.seed": seed,
        f"{ROLLOUT}.agent.default_agent_loop": "egpo",
        f"{ROLLOUT}.max_model_len": longest(backbone),
        "trainer.nnodes": training.nodes,
        "trainer.n_gpus_per_node": training.gpus_per_node,
        "trainer.total_training_steps": training.total_training_steps,
        "trainer.total_epochs": training.total_epochs or UNLIMITED,
        "trainer.save_freq": training.save_freq,
        "trainer.test_freq": training.test_freq,
        "trainer.resume_mode": "auto",
        "ray_kwargs.ray_init.include_dashboard": False,
        "trainer.logger": [],  # egpo.training.trackers adds them
        "critic.enable": False,
        "trainer.project_name": "egpo",
        "trainer.experiment_name": "training",
    }


def _files(model: Path, train_file: Path, validation_file: Path, work: Path) -> dict[str, Any]:
    work = work.absolute()
    return {
        f"{MODEL}.path": str(model.absolute()),
        "data.train_files": str(train_file.absolute()),
        "data.val_files": str(validation_file.absolute()),
        "trainer.default_local_dir": str(work / "checkpoints"),
        "egpo_run": {
            "heartbeat": str(work / HEARTBEAT),
            "metrics": str(work / "metrics.jsonl"),
            "tensorboard": str(work / "tensorboard"),
            "work": str(work),
        },
    }


def _sizes(sizes: Fit) -> dict[str, Any]:
    return dict(zip(SIZES, (sizes.micro_tokens, sizes.recompute, sizes.bucket_mib), strict=True))


def _cuda(training: Training) -> dict[str, Any]:
    """For GPUs of 80 GB and models up to 7B; egpo.training.memory estimates the memory."""
    return {
        f"{ROLLOUT}.gpu_memory_utilization": training.gpu_memory_utilization,
        # A model up to 7B fits a GPU: eight engines on one GPU each are faster than fewer, larger ones.
        f"{ROLLOUT}.tensor_model_parallel_size": 1,
        # verl computes entropies with log-probabilities; without chunks that takes fp32 copies of all logits.
        f"{ACTOR}.entropy_from_logits_with_chunking": True,
    }


def verl_config(
    training: Training,
    method: Method,
    backbone: Backbone,
    model: Path,
    train_file: Path,
    validation_file: Path,
    seed: int,
    work: Path,
    sizes: Fit | None = None,
) -> DictConfig:
    """Compose verl's full settings of one training; `check` lets verl validate them.

    Keys of `training.overrides` take precedence over all others.

    Args:
        model: folder of the model, in Hugging Face format; need not exist.
        train_file, validation_file: parquet of egpo.data.verl_rows; need not exist.
        seed: of the order of the data, vLLM's sampler and torch.
        work: folder for checkpoints, metrics and heartbeat.
        sizes: what fits the memory; None for a model that is not known, or settings that are only checked.

    Raises:
        UserError: verl has no such key as one of the overrides, or is not installed.
    """
    config = deepcopy(_verls_defaults())
    sizes = sizes or fit(None, backbone, training, 0)
    overrides = {
        **_method(method, backbone),
        **_experiment(training, backbone, seed),
        **_files(model, train_file, validation_file, work),
        **_sizes(sizes),
        "algorithm.egpo_seed": seed,
        "egpo_run.max_num_gen_batches": method.max_num_gen_batches,
        "egpo_run.sample_groups": training.sample_groups,
        **(cpu_settings(longest(backbone), sizes.cache_bytes) if training.platform == "cpu" else _cuda(training)),
        **_overrides(training, config),
    }
    with open_dict(config):
        for key, value in overrides.items():
            OmegaConf.update(config, key, value, merge=not isinstance(value, list), force_add=True)
    return config


def as_text(config: DictConfig) -> str:
    """The settings as YAML, as in the verl.yaml of a training."""
    return OmegaConf.to_yaml(config, resolve=True)


def _overrides(training: Training, config: DictConfig) -> dict[str, Any]:
    """`training.overrides`; as on Hydra's command line, a key that verl does not have must start with "+"."""
    settings = {}
    for key, value in training.overrides.items():
        parent, _, name = key.removeprefix("+").rpartition(".")
        section = OmegaConf.select(config, parent) if parent else config
        if not key.startswith("+") and (not isinstance(section, DictConfig) or name not in section):
            close = get_close_matches(name, map(str, section)) if isinstance(section, DictConfig) else []
            raise UserError(
                f"training.overrides: verl has no setting '{key}'."
                + (f" Did you mean '{parent}.{close[0]}'?" if close else "")
                + f" To add a new one, write '+{key}'."
            )
        settings[key.removeprefix("+")] = value
    return settings


@cache
def _verls_defaults() -> DictConfig:
    """Read once, as Hydra takes half a second for it; callers change a copy."""
    with initialize_config_dir(str(_verl_folder() / "trainer" / "config"), version_base=None):
        return compose(config_name="ppo_trainer")


def _verl_folder() -> Path:
    """Folder of the installed verl; does not import it."""
    spec = find_spec("verl")
    if spec is None or spec.origin is None:
        raise UserError("verl is not installed in this environment: run `make env`.")
    return Path(spec.origin).parent


def check(config: DictConfig) -> None:
    """Let verl validate the settings of a training. Imports verl, which takes seconds.

    Raises:
        UserError: verl refuses them.
    """
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    copy: Any = OmegaConf.create(OmegaConf.to_container(config))  # verl's checks may write
    try:
        validate_config(
            copy,
            use_reference_policy=need_reference_policy(config),
            use_critic=need_critic(config),
        )
    except (AssertionError, ValueError, HydraException, OmegaConfBaseException) as error:
        raise UserError(
            f"verl refuses the settings of this training: {error}\nLook at the section `training` of the experiment, "
            "above all at train_batch_size, rollouts_per_prompt, nodes, gpus_per_node and the keys under `overrides`."
        ) from error
