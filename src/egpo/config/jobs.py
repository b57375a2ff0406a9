"""The section `jobs`: time, cores and memory of the long jobs."""

from __future__ import annotations

from pydantic import Field

from egpo.config.section import Count, Positive, Section, Whole


class Needs(Section):
    """What a job may use of its machine. A change alters no result, and makes no finished job run again."""

    minutes: Count = Field(description="Time limit, on Slurm too. Finished work is kept: a retry continues from it.")
    cpus: Count
    memory_gib: Count


class TrainNeeds(Needs):
    """What a training may use, on each of its nodes."""

    grace_minutes: Whole = Field(
        20, description="Extra time at the limit, to finish the step and save; added to what Slurm is asked for."
    )
    stall_minutes: Positive = Field(15, description="A training without progress for this long is stopped.")


class Jobs(Section):
    """Time, cores and memory of the long jobs; GPUs are set in `training` and `evaluation`."""

    train: TrainNeeds = TrainNeeds(minutes=1440, cpus=16, memory_gib=200)
    evaluate: Needs = Field(
        Needs(minutes=1440, cpus=8, memory_gib=64),
        description="For each evaluation with its model's rollouts of `uncertainty`, or for the rollouts alone.",
    )
    data: Needs = Field(Needs(minutes=480, cpus=8, memory_gib=16), description="For building the training pool.")


class NeedsOverlay(Section):
    """Keys of `jobs.evaluate` that one backbone may have different."""

    minutes: Count | None = None
    cpus: Count | None = None
    memory_gib: Count | None = None


class TrainNeedsOverlay(NeedsOverlay):
    """Keys of `jobs.train` that one backbone may have different."""

    grace_minutes: Whole | None = None
    stall_minutes: Positive | None = None


class JobsOverlay(Section):
    """Keys of `jobs` that one backbone may have different."""

    train: TrainNeedsOverlay = TrainNeedsOverlay()
    evaluate: NeedsOverlay = NeedsOverlay()
