"""The driver of one training: `python -m egpo.verl_plugin.driver verl.yaml`, started by egpo.training.launch.

verl's own entry point starts a Ray actor to run the trainer in, which imports everything once more. Here
the driver runs the trainer itself, and starts Ray while it imports.
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
from egpo.training.nodes import ADDRESS, RUN_FOLDER, gather
from egpo.training.progress import FAILURE, SAVED_AND_ENDED, Stopped
from egpo.training.settings import check
from egpo.verl_plugin import quick_start  # noqa: F401
from egpo.verl_plugin.cpu.server import start_server

SECONDS_FOR_LOGS = 2  # Ray brings its workers' last words with a delay


def _import_verl() -> None:
    importlib.import_module("verl.trainer.ppo.v1")


def _start_ray(config: DictConfig) -> subprocess.Popen[bytes] | None:
    """Returns what must be kept as long as Ray is needed."""
    if ADDRESS in os.environ:  # a Ray that spans several nodes and is there already
        ray.init()
        return None
    nodes, gpus = config.trainer.nnodes, config.trainer.n_gpus_per_node
    settings: dict[str, Any] = OmegaConf.to_container(config.ray_kwargs.ray_init, resolve=True)
    settings["_temp_dir"] = os.environ[RUN_FOLDER]
    environment = {key: value for key, value in (settings.pop("runtime_env", None) or {}).items() if value is not None}
    if nodes > 1:  # as many here as elsewhere, and an error where Slurm has given fewer
        settings["num_gpus"] = gpus
    ray.init(**settings, **({"runtime_env": environment} if environment else {}))
    return gather(nodes, gpus) if nodes > 1 else None


def check_registered() -> None:
    """Raise UserError unless verl knows our names: it says nothing when a plug-in fails to load."""
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
                f"verl has no {what} '{name}': our plug-in did not load. Install this package in the environment "
                "(make env), and leave VERL_USE_EXTERNAL_PLUGINS unset. "
                f"Import egpo.verl_plugin.plugin by hand to see the error. Known: {', '.join(sorted(known))}."
            )


def ours_in_verl(config: DictConfig) -> str:
    """What of verl's is replaced or added in this training, in one line for the log."""
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
    return f"beside verl's own: {', '.join(parts)}"


def run(config: DictConfig) -> None:
    """Check, then train to the end."""
    importing = threading.Thread(target=_import_verl)
    importing.start()
    workers = _start_ray(config)
    server = start_server(config) if config.trainer.device == "cpu" else None
    import transfer_queue

    transfer_queue.init(config.transfer_queue)
    importing.join()
    check(config)
    check_registered()
    print(ours_in_verl(config), flush=True)
    from verl.trainer.ppo.v1 import AgentLoopManagerTQ, get_trainer_cls

    trainer = get_trainer_cls(config.trainer.v1.trainer_mode)(config=config)
    trainer.init()
    manager = AgentLoopManagerTQ.create(
        config=config,
        llm_client=trainer.get_llm_client(),
        teacher_client=trainer.get_teacher_client(),
        reward_loop_worker_handles=trainer.get_reward_handles(),
    )
    trainer.fit(manager)
    trainer.logger.finish()
    del server, workers  # they live as long as their handles


def main(path: Path) -> int:
    config = OmegaConf.load(path)
    try:
        run(config)
    except Stopped:
        return SAVED_AND_ENDED
    except UserError as error:
        write_text(path.with_name(FAILURE), str(error))
        return 1
    except Exception:
        traceback.print_exc()
        time.sleep(SECONDS_FOR_LOGS)
        return 1
    return 0


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: Python would wait for processes that it has sent a SIGTERM, which they do not get (egpo.runtime.guard).
    os._exit(code)
