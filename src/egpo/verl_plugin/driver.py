"""The driver process of one training: `python -m egpo.verl_plugin.driver verl.yaml`, started by egpo.training.process.

verl's entry point runs the trainer in a Ray actor, which imports everything again. Here the driver runs the trainer
itself, and starts Ray while it imports verl. On a CPU, Ray's workers are forks (egpo.verl_plugin.cpu.start).
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import ray
from omegaconf import DictConfig, OmegaConf

from egpo.common.errors import UserError
from egpo.common.files import write_text
from egpo.runtime import stacks
from egpo.training.export import milestones
from egpo.training.names import ADDRESS, RUN_FOLDER
from egpo.training.nodes import gather
from egpo.training.progress import ERROR, FAILURE, SAVED_AND_ENDED, Stopped
from egpo.training.settings import check
from egpo.verl_plugin import quick_start  # noqa: F401
from egpo.verl_plugin.cpu import start as cpu

ATTEMPTS = 4  # to start Ray


def _import_verl() -> None:
    importlib.import_module("verl.trainer.ppo.v1")


def _init(settings: dict[str, Any]) -> None:
    """ray.init, again if Ray's own processes did not start in the 15 and 30 s that it gives them.

    That happens where other processes have the cores; the next attempt finds the files in memory.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            ray.init(**settings)
            return
        except Exception as error:  # Ray has no type for it
            if attempt == ATTEMPTS or "timed out during startup" not in str(error):
                raise
            print(f"Ray did not start in time, attempt {attempt} of {ATTEMPTS}", flush=True)
            ray.shutdown()


def _start_ray(config: DictConfig) -> subprocess.Popen[bytes] | None:
    """Start Ray, or connect to one that runs. The result must be kept as long as Ray is needed."""
    if ADDRESS in os.environ:  # a running Ray that spans several nodes
        ray.init()
        return None
    nodes, gpus = config.trainer.nnodes, config.trainer.n_gpus_per_node
    settings: Any = OmegaConf.to_container(config.ray_kwargs.ray_init, resolve=True)
    settings["_temp_dir"] = os.environ[RUN_FOLDER]
    environment = {key: value for key, value in (settings.pop("runtime_env", None) or {}).items() if value is not None}
    if environment:
        settings["runtime_env"] = environment
    if nodes > 1:  # the same number on each node; Ray fails if Slurm has assigned fewer
        settings["num_gpus"] = gpus
    _init(settings)
    return gather(nodes, gpus) if nodes > 1 else None


def check_registered() -> None:
    """Check that the plug-in has registered its parts: verl ignores a plug-in that fails to load.

    Raises:
        UserError: a part is missing.
    """
    from verl.experimental.agent_loop.agent_loop import _agent_loop_registry
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY
    from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY

    for what, name, known in (
        ("advantage estimator", "egpo", ADV_ESTIMATOR_REGISTRY),
        ("trainer", "egpo", TRAINER_REGISTRY),
        ("agent loop", "egpo", _agent_loop_registry),
    ):
        if name not in known:
            raise UserError(
                f"verl has no {what} '{name}': the plug-in did not load. Install this package in the environment "
                "(make env), and leave VERL_USE_EXTERNAL_PLUGINS unset. "
                f"Import egpo.verl_plugin.plugin by hand to see the error. Known: {', '.join(sorted(known))}."
            )


def additions(config: DictConfig) -> str:
    """The parts of verl that are replaced or added in this training, as a line for the log."""
    from verl.utils.torch_functional import logprobs_from_logits

    parts = [
        "trainer",
        "estimator",
        "agent loop",
        f"attention '{config.actor_rollout_ref.model.override_config.attn_implementation}'",
    ]
    if logprobs_from_logits.__module__.startswith("egpo."):
        parts.append("log-probabilities (flash-attention is not installed)")
    if config.trainer.device == "cpu":
        parts.append("a platform for the CPU")
    return f"replaced or added in verl: {', '.join(parts)}"


def _agent_loop_manager(on_cpu: bool) -> Any:
    from verl.trainer.ppo.v1 import AgentLoopManagerTQ

    return (
        importlib.import_module("egpo.verl_plugin.cpu.rollouts").CpuAgentLoopManager if on_cpu else AgentLoopManagerTQ
    )


def _trainer_class(config: DictConfig) -> Any:
    if milestones(config):
        from egpo.verl_plugin.milestones import MilestoneTrainer

        return MilestoneTrainer
    from verl.trainer.ppo.v1 import get_trainer_cls

    return get_trainer_cls(config.trainer.v1.trainer_mode)


def run(config: DictConfig) -> None:
    """Check the settings, then train to the end.

    Args:
        config: verl's settings of the training.

    Raises:
        Stopped: the trainer has saved and ends, as it was asked to.
        UserError: verl refuses the settings, or the training cannot go on.
    """
    on_cpu = config.trainer.device == "cpu"
    if on_cpu:
        cpu.prepare()
    importing = threading.Thread(target=_import_verl)
    importing.start()
    workers = _start_ray(config)
    server = cpu.start_server(config) if on_cpu else None
    import transfer_queue

    transfer_queue.init(config.transfer_queue)
    importing.join()
    check(config)
    check_registered()
    print(additions(config), flush=True)
    trainer = _trainer_class(config)(config=config)
    trainer.init()
    manager = _agent_loop_manager(on_cpu).create(
        config=config,
        llm_client=trainer.get_llm_client(),
        teacher_client=trainer.get_teacher_client(),
        reward_loop_worker_handles=trainer.get_reward_handles(),
    )
    try:
        trainer.fit(manager)
    except Exception:
        if hasattr(trainer, "logger"):  # trackers store what they have
            trainer.logger.finish(exit_code=1)
        raise
    trainer.logger.finish()
    del server, workers  # they end with their handles


def main(path: Path) -> int:
    """Train by the settings in `path`; returns the exit code.

    The message of a UserError is written to FAILURE in the same folder, another error to ERROR.
    """
    stacks.register()
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    try:
        run(config)
    except Stopped:
        return SAVED_AND_ENDED
    except UserError as error:
        write_text(path.with_name(FAILURE), str(error))
        return 1
    except Exception:
        traceback.print_exc()
        write_text(path.with_name(ERROR), traceback.format_exc())
        time.sleep(cpu.SECONDS_FOR_LOGS)
        return 1
    return 0


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    # Without Python's clean-up, which sends SIGTERM to processes in which it is blocked, and waits for them.
    os._exit(code)
