"""vLLM's server on a CPU, with the agent loop; imported only where it runs."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import torch
from omegaconf import DictConfig

from egpo.inference.engine import is_tiny

POLL_SECONDS = 1
SERVER = "vllm_server_0_0"  # the name by which verl's actor looks for its server


class CpuServer:
    """verl's vLLM server behind a class that is quick to import.

    Ray loads the class of an actor in each process that gets a handle of it, and verl's class imports vLLM: ten seconds
    in each of the driver, the actor, the load balancer and the agent loop.
    """

    def __init__(self, **settings: Any) -> None:
        from verl.workers.rollout.vllm_rollout.vllm_async_server import RolloutMode, vLLMHttpServer

        self._server = vLLMHttpServer(rollout_mode=RolloutMode.HYBRID, **settings)
        self._server._server_address = "127.0.0.1"  # nobody uses its HTTP port
        self._launch: asyncio.Future[None] | None = None

    async def launched(self) -> None:
        """Wait until the engine is launched, and launch it at the first call."""
        if self._launch is None:
            if is_tiny(self._server.model_config.local_path):
                torch.set_num_threads(1)  # the engine, a fork of this process, inherits it
            self._launch = asyncio.ensure_future(self._server.launch_server())
        await self._launch

    async def engine_died(self) -> None:
        """Return when the engine has ended, which verl notices only by waiting for it."""
        await self.launched()
        while not self._server.engine.errored:
            await asyncio.sleep(POLL_SECONDS)

    async def start_rollouts(self, config: DictConfig) -> None:
        """Make the worker of agent loops; verl's queue must have been started."""
        from egpo.verl_plugin.cpu.rollouts import Rollouts

        self._rollouts = Rollouts(config, self._server)

    async def generate_sequences(self, batch: Any) -> None:
        """Start the rollouts of a batch, as the agent loop's worker does; they end in verl's queue."""
        await self._rollouts.generate_sequences(batch)


def _delegate(name: str) -> Any:
    async def call(self: CpuServer, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self._server, name)(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    call.__name__ = name
    return call


# The methods that verl calls from other processes.
for _name in (
    "abort_all_requests",
    "abort_request",
    "clear_kv_cache",
    "collective_rpc",
    "get_server_address",
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
