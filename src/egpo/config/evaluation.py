"""The sections `evaluation` and `uncertainty`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from egpo.config.section import Count, Name, Positive, Section, Seed, Several, TopK


class MilestoneEvaluation(Section):
    """How the models of `training.milestones` are evaluated; everything else is as for final models."""

    benchmarks: tuple[Name, ...] | None = Field(
        None, min_length=1, description="Of the experiment's `benchmarks`; default: all that the method has."
    )
    seeds: tuple[Seed, ...] | None = Field(None, min_length=1, description="Default: the seeds of `evaluation`.")


class Evaluation(Section):
    """Decoding and trials: every benchmark is run once per seed."""

    seeds: tuple[Seed, ...] = Field(min_length=1, description="One trial per seed.")
    milestones: MilestoneEvaluation = Field(
        MilestoneEvaluation(),
        exclude_if=lambda section: section == MilestoneEvaluation(),
        description="Benchmarks and seeds of the models of `training.milestones`.",
    )
    temperature: float = Field(0.6, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: TopK = 20
    max_num_seqs: Count = Field(512, description="Requests in flight, of each engine; on a CPU the default is 64.")
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    kv_cache_gib: Positive | None = Field(None, description="CPU only: memory for vLLM's KV cache.")
    platform: Literal["cpu", "cuda"]
    gpus: Count = Field(1, description="Each `tensor_parallel_size` of them have an engine with the whole model.")
    tensor_parallel_size: Count = Field(1, description="GPUs that share a model which is too large for one.")

    @model_validator(mode="before")
    @classmethod
    def _by_platform(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("platform") == "cpu":
            return {"max_num_seqs": 64, **values}
        return values

    @property
    def of_milestones(self) -> Evaluation:
        """The same with the seeds of milestones."""
        return self.model_copy(update={"seeds": self.milestones.seeds or self.seeds})

    @property
    def requests(self) -> int:
        """Requests in flight, of all engines together."""
        return self.max_num_seqs * (self.gpus // self.tensor_parallel_size)


class EvaluationOverlay(Section):
    """Keys of `evaluation` that one backbone may have different."""

    gpus: Count | None = None
    tensor_parallel_size: Count | None = None
    max_num_seqs: Count | None = None
    kv_cache_gib: Positive | None = None


class Uncertainty(Section):
    """Entropy statistics: rollouts on the held-out rows of the data, with the decoding of the evaluation."""

    rollouts_per_prompt: Several = Field(8, description="Responses per problem, each with a different seed.")
    problems_per_shard: Count = Field(50, description="The most that a failure can lose.")
