"""The sending end of verl's weight transfer on a CPU, in the actor's process."""

from __future__ import annotations

from typing import Any

from verl.workers.rollout.vllm_rollout.vllm_rollout import ServerAdapter

from egpo.verl_plugin.cpu.socket import private_socket


class CpuServerAdapter(ServerAdapter):
    """verl's adapter on a socket of this training alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.zmq_handle = private_socket(self.zmq_handle)
