"""An estimate of the GPU memory that a training needs; no GPU has confirmed it yet."""

from __future__ import annotations

from dataclasses import dataclass

from egpo.config.backbones import Architecture, Backbone
from egpo.config.training import Training

GIB = 2**30
FP32, BF16 = 4, 2  # bytes
STATES = 4  # copies of the parameters in fp32: weights, gradients, two moments of Adam
ENTROPY_CHUNK = 2048  # rows of logits that verl turns into entropies at a time, in fp32
ALLOWANCE = 6.0  # GiB, a guess: CUDA contexts of trainer and vLLM, what vLLM keeps while it sleeps, fragmentation
VLLM_WORKSPACE = 4.0  # GiB, a guess: what vLLM reserves for activations and CUDA graphs

FORMULA = """With P parameters, L layers of width h and feed-forward width f, vocabulary V, k the width of a token's
keys, G GPUs, and T = ppo_max_token_len_per_gpu tokens in a micro batch, in bytes on each GPU:

- state = 16 P / G: weights, gradients and Adam's two moments in fp32 (verl loads the actor so), sharded by FSDP2.
- gathered = 2 x 2 max(layer, V h): two units in bf16, one at work and one on its way.
- activations = 2 T h L + 2 T (8 h + 4 f): inputs of the layers (checkpointed), and one layer recomputed.
- logits = 2 x 2 T V in the update (logits and their scaled copy in bf16; the backward works in place), or
  2 x 2 T V + 3 x 4 x 2048 V in the pass for log-probabilities and entropies (which verl takes in chunks of 2048).
- update = state + gathered + activations + the larger logits + 6 GiB allowance.
- rollout = state + gpu_memory_utilization x gpu_gib + 6 GiB allowance: vLLM beside the resident shards.
- KV cache = gpu_memory_utilization x gpu_gib - 2 P - 4 GiB workspace, at 4 L k bytes a token.

Assumed: one PPO mini-batch, tensor parallel size 1, packed sequences without a mask (training.attention: packed, or
flash-attention), no offloading."""


@dataclass(frozen=True)
class Memory:
    """Memory of each GPU in GiB; FORMULA has the parts.

    Attributes:
        kv_tokens: tokens that fit in vLLM's cache.
        longest_tokens: of the longest prompt with the longest response.
        limit: memory of a GPU.
    """

    state: float
    gathered: float
    activations: float
    logits: float
    update: float
    rollout: float
    kv_tokens: int
    longest_tokens: int
    limit: float

    @property
    def peak(self) -> float:
        """The larger of update and rollout."""
        return max(self.update, self.rollout)

    def warnings(self) -> list[str]:
        """What does not fit, with the keys to change; empty if everything fits."""
        found = []
        if self.update > self.limit:
            found.append(
                f"the update needs about {self.update:.0f} of {self.limit:.0f} GiB a GPU: use more GPUs "
                "(training.gpus_per_node, nodes), shorter responses, or offload "
                "(training.overrides: actor_rollout_ref.actor.fsdp_config.optimizer_offload: true)"
            )
        if self.rollout > self.limit:
            found.append(
                f"vLLM beside the actor needs about {self.rollout:.0f} of {self.limit:.0f} GiB a GPU: "
                "lower training.gpu_memory_utilization"
            )
        if self.kv_tokens < self.longest_tokens:
            found.append(
                f"vLLM's cache holds {max(self.kv_tokens, 0)} tokens, fewer than one response of "
                f"{self.longest_tokens}: raise training.gpu_memory_utilization or shorten the responses"
            )
        return found

    def line(self) -> str:
        """The estimate in one line."""
        full = self.kv_tokens // self.longest_tokens
        return (
            f"estimated memory a GPU: update {self.update:.0f} GiB, rollouts {self.rollout:.0f} GiB, "
            f"of {self.limit:.0f}; vLLM's cache holds {max(full, 0)} longest responses"
        )


def estimate(model: Architecture, backbone: Backbone, training: Training, micro_tokens: int) -> Memory:
    """Estimate the memory of a training by FORMULA.

    Args:
        micro_tokens: verl's ppo_max_token_len_per_gpu.
    """
    gpus = training.nodes * training.gpus_per_node
    state = STATES * FP32 * model.parameters / gpus
    gathered = 2 * BF16 * max(model.layer_parameters, model.vocab_size * model.hidden_size)
    checkpoints = BF16 * micro_tokens * model.hidden_size * model.num_hidden_layers
    activations = checkpoints + BF16 * micro_tokens * (8 * model.hidden_size + 4 * model.intermediate_size)
    logits = 2 * BF16 * micro_tokens * model.vocab_size + 3 * FP32 * ENTROPY_CHUNK * model.vocab_size
    vllm = training.gpu_memory_utilization * training.gpu_gib * GIB
    cache = vllm - BF16 * model.parameters - VLLM_WORKSPACE * GIB
    return Memory(
        state=state / GIB,
        gathered=gathered / GIB,
        activations=activations / GIB,
        logits=logits / GIB,
        update=(state + gathered + activations + logits) / GIB + ALLOWANCE,
        rollout=(state + vllm) / GIB + ALLOWANCE,
        kv_tokens=int(cache // (2 * BF16 * model.num_hidden_layers * model.kv_width)),
        longest_tokens=backbone.max_prompt_length + backbone.max_response_length,
        limit=training.gpu_gib,
    )
