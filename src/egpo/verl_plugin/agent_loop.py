"""An agent loop for verl that gives each rollout a sampling seed, so that a training can be reproduced.

verl seeds only vLLM's engine, whose random numbers go to requests in the order of arrival, which differs from run to
run. With its option full_determinism (verl 0.9.1) all requests have the same seed, and the rollouts of a prompt would
be equal.
"""

from __future__ import annotations

from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, register
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from egpo.common.hashing import digest

NAME = "egpo"


def group_name(step: int, position: int) -> str:
    """The uid of a prompt's group, by its position among the groups of a step; verl's default is random."""
    return f"step{step:07d}-{position:05d}"


def rollout_seed(training_seed: int, group: str, rollout: int) -> int:
    """The sampling seed of a rollout; it does not depend on the order of requests."""
    return int.from_bytes(digest(training_seed, "rollout", f"{group}-{rollout}", size=7))


@register(NAME)
class SeededLoop(SingleTurnAgentLoop):
    """verl's single-turn loop with seeds; selected by rollout.agent.default_agent_loop=egpo."""

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        seed = rollout_seed(self.rollout_config.seed, kwargs["uid"], kwargs["session_id"])
        return await super().run({**sampling_params, "seed": seed}, **kwargs)
