"""What vLLM's worker process gets on a CPU in place of verl's own extension."""

from __future__ import annotations

from typing import Any

import torch
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

from egpo.training.cpu_rollout import keep_weights, own_socket


class CpuWorkerExtension(vLLMColocateWorkerExtension):
    """The receiving end of the weight transfer; named in the settings as vLLM's worker_extension_cls."""

    def __new__(cls, **kwargs: Any) -> CpuWorkerExtension:
        keep_weights()
        return super().__new__(cls, **kwargs)

    def _get_zmq_handle(self) -> str:
        return own_socket(super()._get_zmq_handle())

    def _update_weights(self, weights: list[tuple[str, torch.Tensor]], **kwargs: Any) -> None:
        # Obstacle 7: on a CPU these tensors are views of the shared memory that is about to be closed.
        super()._update_weights([(name, tensor.clone()) for name, tensor in weights], **kwargs)
