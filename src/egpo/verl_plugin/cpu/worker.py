"""The receiving end of verl's weight transfer on a CPU, in vLLM's worker."""

from __future__ import annotations

from typing import Any

import torch
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

from egpo.verl_plugin.cpu.socket import private_socket


def keep_weights() -> None:
    """Obstacle 8: vLLM's CPU layers pack their weights after loading and delete the parameters.

    A later update has nothing to write to then. Plain linear layers read the parameters.
    """
    from vllm.model_executor.layers import utils

    def dispatch_cpu_unquantized_gemm(layer: torch.nn.Module, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear  # type: ignore[assignment]  # as vLLM itself does

    utils.dispatch_cpu_unquantized_gemm = dispatch_cpu_unquantized_gemm


class CpuWorkerExtension(vLLMColocateWorkerExtension):
    """verl's extension of the worker, for vLLM's worker_extension_cls (set by egpo.training.cpu)."""

    def __new__(cls, **kwargs: Any) -> CpuWorkerExtension:
        keep_weights()
        return super().__new__(cls, **kwargs)

    def _get_zmq_handle(self) -> str:
        return private_socket(super()._get_zmq_handle())

    def _update_weights(self, weights: list[tuple[str, torch.Tensor]], *args: Any, **kwargs: Any) -> None:
        # Obstacle 7: on a CPU these tensors are views of shared memory that is about to be closed.
        super()._update_weights([(name, tensor.clone()) for name, tensor in weights], *args, **kwargs)
