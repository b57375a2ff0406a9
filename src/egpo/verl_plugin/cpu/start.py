"""The start of a training on a CPU: Ray's workers are forked, and vLLM's server starts while the actor does."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ray
from omegaconf import DictConfig
from ray.actor import ActorHandle
from ray.exceptions import RayError

from egpo.common.files import write_text
from egpo.runtime import fork_client, fork_server
from egpo.training.progress import ERROR
from egpo.verl_plugin.cpu.modules import MODULES
from egpo.verl_plugin.cpu.server import SERVER, CpuServer

SECONDS_FOR_LOGS = 2  # Ray forwards the output of its workers with a delay


def prepare() -> None:
    """Start the process that workers are forked from. Ray must not be running yet."""
    fork_server.watch(fork_server.start(MODULES))
    _fork_workers()


def _fork_workers() -> None:
    """Make the Ray that this process starts ask for forks, in place of its own start of workers."""
    services: Any = importlib.import_module("ray._private.services")
    original = services.start_raylet
    signature = inspect.signature(original)

    def start_raylet(*args: Any, **kwargs: Any) -> Any:
        call = signature.bind(*args, **kwargs)
        call.arguments["setup_worker_path"] = fork_client.__file__
        return original(*call.args, **call.kwargs)

    services.start_raylet = start_raylet


def start_server(config: DictConfig) -> ActorHandle:
    """Start vLLM while the actor starts, before the trainer asks for it.

    Returns at once. egpo.verl_plugin.cpu.replica finds the server by its name.

    Args:
        config: verl's settings of the training.

    Returns:
        A handle. Keep it: the server ends when it is deleted.
    """
    actor: Any = ray.remote(CpuServer)
    server = actor.options(name=SERVER, max_concurrency=2000)
    handle = server.remote(
        config=config.actor_rollout_ref.rollout,
        model_config=config.actor_rollout_ref.model,
        workers=[],
        replica_rank=0,
        node_rank=0,
        gpus_per_node=1,
        nnodes=1,
        cuda_visible_devices="0",
    )
    handle.launched.remote()
    threading.Thread(target=_end_with, args=(handle, Path(config.egpo_run.work)), daemon=True).start()
    return handle


def _end_with(server: ActorHandle, work: Path) -> None:
    """End this process when vLLM has ended: verl would leave out the rollouts that fail, and then wait forever."""
    why = "the first error above is the cause"
    try:
        ray.get(server.engine_died.remote())
    except RayError as error:  # the whole process has ended, for example because memory is short
        why = str(error)
    why = f"vLLM has ended: {why}"
    print(why, file=sys.stderr, flush=True)
    write_text(work / ERROR, why)
    time.sleep(SECONDS_FOR_LOGS)
    os._exit(1)
