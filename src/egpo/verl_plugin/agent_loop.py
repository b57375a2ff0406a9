"""A seed for each rollout, so that a training samples the same whenever and wherever it is run.

verl seeds vLLM's engine alone, and that one stream of random numbers is dealt out as requests come in: no two runs are
the same. Its option full_determinism gives every request one seed (verl 0.9.1), so that the rollouts of a prompt would
be copies of each other.
"""

from __future__ import annotations

from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, register
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from egpo.common.hashing import digest

NAME = "egpo"


def group_name(step: int, position: int) -> str:
    """The uid of a prompt's group: its place among those that a step generates. verl's own are random."""
    return f"step{step:07d}-{position:05d}"


def rollout_seed(training_seed: int, group: str, rollout: int) -> int:
    """The sampling seed of a rollout: order and company of the requests play no part."""
    return int.from_bytes(digest(training_seed, "rollout", f"{group}-{rollout}", size=7))


@register(NAME)
class SeededLoop(SingleTurnAgentLoop):
    """verl's loop of one turn, selected by rollout.agent.default_agent_loop=egpo."""

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        seed = rollout_seed(self.rollout_config.seed, kwargs["uid"], kwargs["session_id"])
        return await super().run({**sampling_params, "seed": seed}, **kwargs)
