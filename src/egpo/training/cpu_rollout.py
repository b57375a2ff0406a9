"""Rollouts on a CPU: vLLM's server, and the sending end of verl's weight transfer.

Loaded in every process that holds a handle of the server, so vLLM is imported in the server's only.
"""

from __future__ import annotations

import inspect
import os
from typing import Any

import ray
from omegaconf import DictConfig
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.rollout.replica import RolloutMode, RolloutReplica

from egpo.training.cpu_environment import RUN_FOLDER

SERVER = "vllm_server_0_0"  # the name by which the actor looks for its server


def own_socket(handle: str) -> str:
    """verl's socket in a folder of this training.

    verl tells trainings apart by Ray's job number, which is 1 in every Ray that is started for one
    training: two trainings on one machine would take each other's weights.
    """
    return f"ipc://{os.environ[RUN_FOLDER]}/{handle.rsplit('/', 1)[1]}"


class CpuServer:
    """verl's vLLM server behind a class that costs nothing to import.

    Ray loads the class of an actor in each process that gets a handle of it, and verl's class comes with
    all of vLLM: ten seconds in the driver, the actor, the load balancer and the agent loop.
    """

    def __init__(self, **settings: Any) -> None:
        from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer

        self._server = vLLMHttpServer(**settings)


def _delegate(name: str) -> Any:
    async def call(self: CpuServer, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self._server, name)(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    call.__name__ = name
    return call


# What verl calls on a server from other processes.
for _name in (
    "abort_all_requests",
    "abort_request",
    "clear_kv_cache",
    "collective_rpc",
    "generate",
    "get_server_address",
    "launch_server",
    "release_kv_cache",
    "resume_generation",
    "resume_kv_cache",
    "set_global_steps",
    "sleep",
    "start_profile",
    "stop_profile",
    "wait_for_requests_to_drain",
    "wake_up",
):
    setattr(CpuServer, _name, _delegate(_name))


def start_server(config: DictConfig) -> None:
    """Start vLLM before the trainer asks for it, while the actor starts.

    Returns at once; `CpuReplica` picks the server up by its name.
    """
    server = ray.remote(CpuServer).options(name=SERVER, max_concurrency=2000, lifetime="detached")
    handle = server.remote(
        config=omega_conf_to_dataclass(config.actor_rollout_ref.rollout),
        model_config=config.actor_rollout_ref.model,
        rollout_mode=RolloutMode.HYBRID,
        workers=[],
        replica_rank=0,
        node_rank=0,
        gpus_per_node=1,
        nnodes=1,
        cuda_visible_devices="0",
    )
    handle.launch_server.remote()


class CpuReplica(RolloutReplica):
    """The one server of a CPU training, started by `start_server`."""

    async def launch_servers(self) -> None:
        server = ray.get_actor(SERVER)
        # Answered once the server is launched: calls to an actor of this kind may overtake each other,
        # so the launch is awaited here as well, where its failure is raised.
        await server.launched.remote()
        address, port = await server.get_server_address.remote()
        self.servers, self._server_handle, self._server_address = [server], server, f"{address}:{port}"
