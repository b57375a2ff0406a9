"""An estimate of the memory that a training on a CPU needs, held against measured peaks by benchmarks/memory.py."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from egpo.config.backbones import Architecture
from egpo.training.memory import ENTROPY_CHUNK, FP32, GIB, STATES

BASE = 2.7  # GiB: Ray, the driver, verl and vLLM imported, verl's queue
CACHE_BYTES = GIB  # of vLLM's cache, unless that is too little
SEQUENCES = 256  # that vLLM samples at a time (verl's max_num_seqs is 1024, but a step has fewer)
LEAST = 1e6  # parameters of a model that is worth naming
SAMPLING = 4  # copies of the logits in fp32 that vLLM samples from
LOGITS = 2  # copies of a micro batch's logits in fp32: themselves and their gradient
TEMPORARY = 3  # further copies of the parameters in fp32 during an update, by measurement


@dataclass(frozen=True)
class CpuMemory:
    """Memory of a training on a CPU in GiB, all its processes together.

    Attributes:
        state: weights, gradients and two moments of Adam.
        vllm: vLLM's weights, cache and logits.
        batch: activations and logits of a micro batch.
        update: what an update takes beyond `state`, when its micro batches are gone.
        limit: what the training may use.
    """

    state: float
    vllm: float
    batch: float
    update: float
    limit: float

    @property
    def peak(self) -> float:
        return BASE + self.state + self.vllm + max(self.batch, self.update)

    def warnings(self) -> list[str]:
        """What does not fit, with the keys to change; empty if everything fits."""
        if self.peak <= self.limit:
            return []
        free = (self.limit - BASE - CACHE_BYTES / GIB) * GIB / FP32
        fits = max(0.0, min(free / (STATES + 1 + TEMPORARY), (free - self.batch * GIB / FP32) / (STATES + 1)))
        batch = f"{self.batch:.1f} of them for a prompt and its response of the greatest lengths"
        smaller = f"take a model of at most {fits / 1e6:,.0f} million parameters, or " if fits > LEAST else ""
        return [
            f"a training of this model needs about {self.peak:.1f} GiB, {batch}, and jobs.train.memory_gib gives it "
            f"{self.limit:.0f}. Raise that to {ceil(self.peak)} if the machine has it; else {smaller}shorten "
            "max_prompt_length and max_response_length."
        ]

    def line(self) -> str:
        """The estimate in one line."""
        return (
            f"estimated memory: {self.peak:.1f} GiB of {self.limit:.0f} (model and optimizer {self.state:.1f}, vLLM "
            f"{self.vllm:.1f}, a micro batch {self.batch:.1f} or update {self.update:.1f}, everything else {BASE:.1f})"
        )


def estimate_cpu(model: Architecture, longest: int, micro_tokens: int, recompute: bool, limit: float) -> CpuMemory:
    """Estimate the memory of a training on a CPU, in float32.

    Args:
        longest: tokens of the longest prompt with the longest response.
        micro_tokens: verl's ppo_max_token_len_per_gpu.
        recompute: whether layers are computed again in the backward pass (gradient checkpointing).
        limit: GiB that it may use.
    """
    layer = activations_of_layer(model)
    kept = model.hidden_size * model.num_hidden_layers + layer if recompute else layer * model.num_hidden_layers
    chunk = 3 * min(micro_tokens, ENTROPY_CHUNK) * model.vocab_size
    batch = FP32 * (micro_tokens * (kept + LOGITS * model.vocab_size) + chunk)
    vllm = FP32 * (model.parameters + SAMPLING * SEQUENCES * model.vocab_size) + cache_bytes(model, longest)
    parameters = FP32 * model.parameters / GIB
    return CpuMemory(
        state=STATES * parameters, vllm=vllm / GIB, batch=batch / GIB, update=TEMPORARY * parameters, limit=limit
    )


def activations_of_layer(model: Architecture) -> int:
    """Numbers that a layer keeps of each token for the backward pass: inputs of norms, projections and attention."""
    attention = 5 * model.query_width + 4 * model.kv_width
    return 8 * model.hidden_size + attention + 4 * model.intermediate_size


def cache_bytes(model: Architecture, longest: int) -> int:
    """Size of vLLM's cache, which holds at least two of the longest responses."""
    token = 2 * FP32 * model.num_hidden_layers * model.kv_width
    return max(CACHE_BYTES, 2 * longest * token)
