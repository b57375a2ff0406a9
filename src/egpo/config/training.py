"""The section `training`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from egpo.config.section import Count, Section

Attention = Literal["packed", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3", "flash_attention_4"]


class Training(Section):
    """What every training has in common."""

    platform: Literal["cpu", "cuda"]
    train_batch_size: Count = Field(description="Prompts in a rollout batch, which is also one PPO mini-batch.")
    rollouts_per_prompt: Annotated[int, Field(ge=2, strict=True)] = Field(description="Responses per prompt, N.")
    total_epochs: Count | None = None
    total_training_steps: Count | None = Field(None, description="Optimiser steps; give this or `total_epochs`.")
    learning_rate: float = Field(gt=0, lt=1)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(-1, ge=-1, description="-1 for all tokens.")
    save_freq: Count = Field(description="Steps between checkpoints: the most that a failure can lose.")
    test_freq: Count = Field(description="Steps between validations.")
    nodes: Count = Field(1, description="Several: on Slurm, or on a Ray of your own (docs/cluster.md).")
    gpus_per_node: Count = 1
    gpu_gib: float = Field(80, gt=0, description="Memory of one GPU, for the estimate of what fits.")
    gpu_memory_utilization: float = Field(0.6, gt=0, lt=1, description="Share of a GPU's memory that vLLM takes.")
    attention: Attention = Field(
        "packed",
        description="transformers' attn_implementation of the trained model. `packed` is ours and needs no package; "
        "`sdpa` builds a mask of tokens x tokens.",
    )
    overrides: dict[str, Any] = Field({}, description="Further verl settings by dotted key; they win over ours.")

    @model_validator(mode="after")
    def _one_budget(self) -> Training:
        if (self.total_epochs is None) == (self.total_training_steps is None):
            raise ValueError("give exactly one of total_epochs and total_training_steps")
        return self
