"""What the workers of a training on a CPU import; imports nothing itself."""

from __future__ import annotations

MODULES = (
    "egpo.verl_plugin.quick_start",
    "egpo.verl_plugin.cpu.ray_ids",
    "verl.trainer.ppo.v1",
    "verl.workers.engine_workers",
    "verl.workers.engine.fsdp",
    "verl.workers.rollout.vllm_rollout.vllm_async_server",
    "egpo.verl_plugin.cpu.rollouts",
)
