"""The sending end of verl's weight transfer on a CPU, in the actor's process."""

from __future__ import annotations

from typing import Any

from verl.workers.rollout.vllm_rollout.vllm_rollout import ServerAdapter

from egpo.verl_plugin.cpu.socket import own_socket


class CpuServerAdapter(ServerAdapter):
    """verl's, but on a socket of this training's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.zmq_handle = own_socket(self.zmq_handle)
