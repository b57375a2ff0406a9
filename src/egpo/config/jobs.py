"""The section `jobs`: time, cores and memory of the long jobs."""

from __future__ import annotations

from pydantic import Field

from egpo.config.section import Count, Section


class Needs(Section):
    """What a job may take of its machine. None of it changes a result, or makes a finished job run again."""

    minutes: Count = Field(description="Its time limit, on Slurm too. What is done by then is kept: a retry goes on.")
    cpus: Count
    memory_gib: Count


class TrainNeeds(Needs):
    """A training's, on each of its nodes."""

    grace_minutes: int = Field(
        20, ge=0, description="At its time limit a training may finish its step and save; Slurm is asked for it on top."
    )
    stall_minutes: float = Field(15, gt=0, description="A training without any progress for so long is stopped.")


class Jobs(Section):
    """Time, cores and memory of the long jobs; the GPUs stand in `training` and `evaluation`."""

    train: TrainNeeds = TrainNeeds(minutes=1440, cpus=16, memory_gib=200)
    evaluate: Needs = Field(
        Needs(minutes=1440, cpus=8, memory_gib=64),
        description="Of each evaluation, and of each model's rollouts for `uncertainty`.",
    )
    data: Needs = Field(Needs(minutes=480, cpus=8, memory_gib=16), description="Of the building of the pool.")
