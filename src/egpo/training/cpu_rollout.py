"""The two ends of verl's weight transfer on a CPU: in the actor's process and in vLLM's worker."""

from __future__ import annotations

import os
from typing import Any

import torch
from verl.workers.rollout.vllm_rollout.vllm_rollout import ServerAdapter

from egpo.training.cpu_environment import RUN_FOLDER


def own_socket(handle: str) -> str:
    """verl's socket in a folder of this training.

    verl tells trainings apart by Ray's job number, which is 1 in every Ray that is started for one
    training: two trainings on one machine would take each other's weights.
    """
    return f"ipc://{os.environ[RUN_FOLDER]}/{handle.rsplit('/', 1)[1]}"


class CpuServerAdapter(ServerAdapter):
    """The sending end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.zmq_handle = own_socket(self.zmq_handle)


def keep_weights() -> None:
    """Obstacle 8: vLLM's CPU layers pack their weights after loading and drop the parameters.

    A later weight update then finds nothing to write to. Plain linear layers read the parameters.
    """
    from vllm.model_executor.layers import utils

    def dispatch_cpu_unquantized_gemm(layer: torch.nn.Module, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    utils.dispatch_cpu_unquantized_gemm = dispatch_cpu_unquantized_gemm
