"""The section `training`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from egpo.config.section import Count, Positive, Section, Several, TopK, Whole

Attention = Literal["packed", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3", "flash_attention_4"]
GpuShare = Annotated[float, Field(gt=0, lt=1)]


class Training(Section):
    """What all trainings have in common."""

    platform: Literal["cpu", "cuda"]
    train_batch_size: Count = Field(description="Prompts in a rollout batch, which is also one PPO mini-batch.")
    rollouts_per_prompt: Several = Field(description="Responses per prompt, N.")
    total_epochs: Count | None = None
    total_training_steps: Count | None = Field(None, description="Optimiser steps; give this or `total_epochs`.")
    learning_rate: float = Field(gt=0, lt=1)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: TopK = -1
    save_freq: Count = Field(description="Steps between checkpoints: the most that a failure can lose.")
    test_freq: Count = Field(description="Steps between validations.")
    sample_groups: Whole = Field(2, description="Groups of each step whose texts are kept in samples.jsonl.")
    milestones: Whole = Field(
        0,
        # A default that is not dumped is no part of what finished jobs are compared with.
        exclude_if=lambda count: count == 0,
        description="Models that each training keeps on its way, at evenly spread steps, to be evaluated too.",
    )
    nodes: Count = Field(1, description="More than one: on Slurm, or on a Ray cluster of yours (docs/cluster.md).")
    gpus_per_node: Count = 1
    gpu_gib: Positive = Field(80, description="Memory of one GPU, for the estimate of what fits.")
    gpu_memory_utilization: GpuShare = Field(0.6, description="Share of a GPU's memory that vLLM takes.")
    attention: Attention = Field(
        "packed",
        description="transformers' attn_implementation of the trained model. `packed` is implemented here and needs "
        "no further package; `sdpa` builds a mask of tokens x tokens.",
    )
    overrides: dict[str, Any] = Field(
        {}, description="Further settings of verl, by dotted key; they take precedence over those that are set here."
    )

    @model_validator(mode="after")
    def _one_budget(self) -> Training:
        if (self.total_epochs is None) == (self.total_training_steps is None):
            raise ValueError("give exactly one of total_epochs and total_training_steps")
        return self


class TrainingOverlay(Section):
    """Keys of `training` that one backbone may have different: its machine, and what its memory requires."""

    nodes: Count | None = None
    gpus_per_node: Count | None = None
    gpu_gib: Positive | None = None
    gpu_memory_utilization: GpuShare | None = None
    attention: Attention | None = None
    save_freq: Count | None = None
    overrides: dict[str, Any] | None = None
