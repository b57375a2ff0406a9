"""Sizes of a training that follow from the model and the memory. They change no result but by rounding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from egpo.config.backbones import Architecture, Backbone
from egpo.config.training import Training
from egpo.training.memory import FP32, Memory, estimate
from egpo.training.memory_cpu import CACHE_BYTES, CpuMemory, cache_bytes, estimate_cpu

MOST = 16384  # tokens of a micro batch: more are no faster
STEP = 256  # between the numbers of tokens that are tried
BUCKET_MIB = {"cuda": 2048, "cpu": 64}  # verl's, and enough for a tiny model


@dataclass(frozen=True)
class Fit:
    """How a training divides its work.

    Attributes:
        micro_tokens: tokens of a micro batch (verl's ppo_max_token_len_per_gpu).
        recompute: whether the backward pass computes the layers again (verl's enable_gradient_checkpointing).
        bucket_mib: of the weights on their way to vLLM; the largest matrix must fit (update_weights_bucket_megabytes).
        cache_bytes: of vLLM's cache on a CPU (kv_cache_memory_bytes).
        memory: the estimate, with what does not fit; None for a model that is not known yet.
    """

    micro_tokens: int
    recompute: bool
    bucket_mib: int
    cache_bytes: int
    memory: Memory | CpuMemory | None

    @property
    def line(self) -> str:
        """The sizes and the estimate in one line."""
        estimated = self.memory.line() if self.memory else "memory not estimated"
        return f"micro batches of {self.micro_tokens} tokens; {estimated}"

    @property
    def warnings(self) -> list[str]:
        """What does not fit, with the keys to change; empty if everything fits."""
        return self.memory.warnings() if self.memory else []


def longest(backbone: Backbone) -> int:
    """Tokens of a prompt and its response, at most."""
    return backbone.max_prompt_length + backbone.max_response_length


def fit(model: Architecture | None, backbone: Backbone, training: Training, memory_gib: float) -> Fit:
    """The largest micro batch that fits by the estimate; if none does, that of one longest sequence.

    Args:
        model: its sizes; None for one that is not made yet, which is then tiny.
        memory_gib: `jobs.train.memory_gib`, which limits a training on a CPU; on GPUs `training.gpu_gib` does.
    """
    least, cuda = longest(backbone), training.platform == "cuda"
    if model is None:
        return Fit(max(MOST, least), cuda, BUCKET_MIB[training.platform], CACHE_BYTES, None)
    tried = [(tokens, cuda) for tokens in _micro_batches(least)]
    if not cuda:
        # Layers that are computed again cost a third more: only where no sequence fits otherwise.
        tried += [(tokens, True) for tokens in _micro_batches(least)]
    for tokens, recompute in tried:
        memory = (
            estimate(model, backbone, training, tokens)
            if cuda
            else estimate_cpu(model, least, tokens, recompute, memory_gib)
        )
        if not memory.warnings():
            break
    bucket = max(BUCKET_MIB[training.platform], ceil(FP32 * model.largest / 2**20))
    return Fit(tokens, recompute, bucket, cache_bytes(model, least), memory)


def _micro_batches(least: int) -> Iterator[int]:
    """Numbers of tokens, from the largest to that of one longest sequence."""
    yield from range(MOST, least, -STEP)
    yield least
