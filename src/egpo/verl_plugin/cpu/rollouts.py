"""verl's agent loop on a CPU: in the process of vLLM's server, with the reward.

verl spreads a step's rollouts over processes on many machines: agent loops, a load balancer, servers and reward workers
talk through Ray. On one machine these messages cost more than a tiny model does. Here verl's own classes run in one
process and call each other; what they compute is the same.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import hydra
import ray
from omegaconf import DictConfig
from verl.experimental.agent_loop import agent_loop
from verl.experimental.reward_loop import RewardLoopWorker
from verl.trainer.ppo.v1 import agent_loop_tq
from verl.workers.rollout.llm_server import LLMServerClient
from verl.workers.rollout.replica import TokenOutput

from egpo.verl_plugin.cpu.server import SERVER

DELAY = 0.05  # seconds in which finished rollouts are collected, to be put into verl's queue together


class Local:
    """Looks like the handle of a Ray actor, and calls an object of this process."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self._target, name))


class OneServer(LLMServerClient):
    """verl's client for the one server, which is in this process: no load balancer, no messages."""

    def __init__(self, config: DictConfig, server: Any) -> None:
        super().__init__(config)
        self._server = server

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any], **_: Any
    ) -> TokenOutput:
        output = await self._server.generate(prompt_ids, sampling_params, request_id)
        version = output.extra_fields.get("global_steps")
        output.extra_fields |= {"min_global_steps": version, "max_global_steps": version}
        return output


class Puts:
    """verl's queue, for agent loops: rows that are ready at about the same time are put together.

    A put has a fixed cost of some milliseconds, which is more than the rest of a rollout.
    """

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._waiting: dict[str, list[tuple[list[str], list[dict], list[dict], asyncio.Future[None]]]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def async_kv_batch_put(
        self, keys: list[str], fields: list[dict], tags: list[dict], partition_id: str
    ) -> None:
        """Put rows; `fields` are dictionaries, because `Rollouts` replaces list_of_dict_to_tensordict."""
        done = asyncio.get_running_loop().create_future()
        if partition_id not in self._waiting:
            self._waiting[partition_id] = []
            asyncio.get_running_loop().call_later(DELAY, lambda: asyncio.ensure_future(self._put(partition_id)))
        self._waiting[partition_id].append((keys, fields, tags, done))
        await done

    async def _put(self, partition_id: str) -> None:
        rows = self._waiting.pop(partition_id)
        try:
            await self._queue.async_kv_batch_put(
                keys=[key for keys, _, _, _ in rows for key in keys],
                fields=_to_tensordict([field for _, fields, _, _ in rows for field in fields]),
                tags=[tag for _, _, tags, _ in rows for tag in tags],
                partition_id=partition_id,
            )
        except Exception as error:
            for *_, done in rows:
                done.set_exception(error)
        else:
            for *_, done in rows:
                done.set_result(None)


_to_tensordict = agent_loop_tq.list_of_dict_to_tensordict
_Actor: Any = agent_loop_tq.AgentLoopWorkerTQ
_Worker: Any = _Actor.__ray_metadata__.modified_class  # the class itself, without Ray


class Rollouts(_Worker):
    """verl's worker of agent loops as a plain object; its server and its reward worker are in this process.

    Args:
        config: verl's settings of the training.
        server: verl's vLLM server.
    """

    def __init__(self, config: DictConfig, server: Any) -> None:
        reward = Local(RewardLoopWorker(config))
        super().__init__(config, OneServer(config, server), None, [reward])
        self._loops: dict[str, Any] = {}
        module: Any = agent_loop_tq
        module.tq = Puts(module.tq)
        module.list_of_dict_to_tensordict = list

    async def _run_agent_loop(
        self, sampling_params: dict[str, Any], trajectory: dict[str, Any], *, agent_name: str, trace: bool, **row: Any
    ) -> None:
        # As verl's, which makes a new loop for each rollout; ours keeps nothing between rollouts.
        output = await self._loop(agent_name).run({**sampling_params, "detokenize": False}, **row)
        await self._agent_loop_postprocess(output, trajectory["validate"], **row)

    async def _compute_score(self, outputs: list[Any], kwargs: dict) -> None:
        # verl's reward manager adds to this dictionary, which the rollouts of a group share.
        await super()._compute_score(outputs, {**kwargs, "extra_info": dict(kwargs.get("extra_info") or {})})

    def _loop(self, name: str) -> Any:
        if name not in self._loops:
            wrap = agent_loop.DictConfigWrap
            self._loops[name] = hydra.utils.instantiate(
                config=agent_loop._agent_loop_registry[name],
                trainer_config=wrap(self.config),
                server_manager=self.llm_client,
                tokenizer=self.tokenizer,
                processor=self.processor,
                hf_model_type=self.hf_model_type,
                dataset_cls=self.dataset_cls,
                data_config=wrap(self.config.data),
                tools=agent_loop.ToolListWrap(self.tools),
            )
        return self._loops[name]


class CpuAgentLoopManager(agent_loop_tq.AgentLoopManagerTQ):
    """verl's manager, whose one worker is in vLLM's server (egpo.verl_plugin.cpu.server)."""

    async def _init_agent_loop_workers(self) -> None:
        server = ray.get_actor(SERVER)
        await server.start_rollouts.remote(self.config)
        self.agent_loop_workers = [server]
