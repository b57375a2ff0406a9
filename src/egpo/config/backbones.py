"""Models that trainings start from: entries of config/backbones.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from egpo.config.data import ProblemSet
from egpo.config.section import Count, Label, Levels, Repo, Section, Seed, Share


class Architecture(Section):
    """Sizes of a decoder with gated feed-forward layers (Llama, Qwen2, Qwen3, Gemma), as in its config.json."""

    num_hidden_layers: Count
    hidden_size: Count
    intermediate_size: Count = Field(description="Width of the gated feed-forward layers.")
    num_attention_heads: Count
    num_key_value_heads: Count
    vocab_size: Count
    tie_word_embeddings: bool = Field(description="Whether input and output embeddings are the same matrix.")
    head_dim: Count | None = Field(
        None, description="Width of an attention head. Default: hidden_size / num_attention_heads."
    )
    num_parameters: Count | None = Field(
        None, description="Number of parameters. Default: that of Qwen2's layers in these sizes; wrong for experts."
    )
    largest_tensor: Count | None = Field(
        None, description="Number of elements of the largest matrix. Default: that of the embeddings."
    )

    @property
    def head_width(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def query_width(self) -> int:
        """Width of the queries of a token in a layer."""
        return self.head_width * self.num_attention_heads

    @property
    def kv_width(self) -> int:
        """Width of the keys of a token in a layer; the values have the same."""
        return self.head_width * self.num_key_value_heads

    @property
    def layer_parameters(self) -> int:
        """Parameters of a layer of Qwen2: attention with biases on q, k and v, gated feed-forward, two norms.

        Llama has no biases and Qwen3 and Gemma have further norms: less than a thousandth.
        """
        projections = 2 * self.hidden_size * (self.query_width + self.kv_width) + self.query_width + 2 * self.kv_width
        return projections + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size

    @property
    def parameters(self) -> int:
        """Parameters of the model."""
        if self.num_parameters is not None:
            return self.num_parameters
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)
        return embeddings + self.num_hidden_layers * self.layer_parameters + self.hidden_size

    @property
    def largest(self) -> int:
        """Elements of the largest matrix."""
        return self.largest_tensor or self.hidden_size * max(self.vocab_size, self.intermediate_size)


class HubModel(Section):
    """A model on the Hugging Face Hub."""

    kind: Literal["hub"]
    repo: Repo = Field(description="owner/name on the Hub.")
    revision: str = Field("main", description="Branch, tag or commit; the commit that it resolves to is recorded.")
    architecture: Architecture | None = Field(
        None,
        description="Sizes for estimates before the download, which checks them. Required for a model that is trained.",
    )


class LocalModel(Section):
    """A folder in Hugging Face format: config.json, tokenizer and safetensors."""

    kind: Literal["local"]
    path: Path = Field(description="The folder; a relative path starts at the repository.")


class GgufModel(Section):
    """A GGUF file, which transformers turns into a model in float32; its tokenizer must have a chat template."""

    kind: Literal["gguf"]
    path: Path = Field(description="The file; a relative path starts at the repository.")


class WorkedSet(ProblemSet):
    """Problems with worked solutions."""

    solution: str | None = Field(
        None,
        description="The column of the worked solution. Default: with `answer_after`, what stands before that mark; "
        "else the answer alone is taught.",
    )


class SupervisedWarmUp(Section):
    """A short supervised training on worked examples, for a model that solves next to nothing without one.

    Examples that are near a benchmark's question, a validation row or a held-out row are left out.
    """

    sets: tuple[WorkedSet, ...] = Field(min_length=1)
    steps: Count
    batch_size: Count
    learning_rate: float = Field(gt=0, lt=1)
    seed: Seed = 1


class WarmUp(Section):
    """Supervised training that ends at the first measurement at which some problems are solved, but not most."""

    steps: Count = Field(description="At most; it ends sooner where the pass rate and the groups are in range.")
    batch_size: Count
    learning_rate: float = Field(gt=0)
    pass_rate: tuple[Share, Share] = Field((0.45, 0.65), description="Range that the pass rate should fall in.")
    group_share: Share = Field(
        0.1, description="Share that each kind of group should have: mixed, entirely correct, entirely incorrect."
    )
    measure_every: Count = Field(40, description="Steps between measurements.")
    level_weights: Levels | None = Field(
        None,
        description="Shares of the five levels in the problems that this is measured on; give those of `data.source`.",
    )


class SyntheticModel(Section):
    """A tiny model of the Qwen2 architecture, trained by this workflow, for the demo and the tests."""

    kind: Literal["synthetic"]
    seed: Seed = 1
    num_hidden_layers: Count = 3
    hidden_size: Count = 128
    num_attention_heads: Count = 4
    warm_up: WarmUp


class Backbone(Section):
    """A model that trainings start from."""

    label: Label = Field(description="Name in tables and figures.")
    source: Annotated[HubModel | LocalModel | GgufModel | SyntheticModel, Field(discriminator="kind")]
    warm_up: SupervisedWarmUp | None = Field(
        None, description="Supervised training before the trainings with rewards; a synthetic model has its own."
    )
    thinks: bool = Field(
        False,
        description="Its prompts open <think>, as DeepSeek-R1-Distill's do: a response is thoughts up to </think>.",
    )
    max_model_len: Count = Field(description="Context length in tokens.")
    max_prompt_length: Count = Field(description="Longest prompt in training, in tokens.")
    max_response_length: Count = Field(description="Longest response in training, in tokens.")
    max_evaluation_length: Count = Field(description="Longest response in evaluation, in tokens.")
    min_evaluation_length: Count | None = Field(
        None,
        description="Where a prompt leaves less of the context than `max_evaluation_length`, the response gets what is "
        "left. Below this minimum the question is not asked and counts as wrong. Default: `max_evaluation_length`.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Backbone:
        if self.warm_up is not None and isinstance(self.source, SyntheticModel):
            raise ValueError("warm_up stands beside source.warm_up, which a synthetic model has: take it out")
        if (self.min_evaluation_length or 0) > self.max_evaluation_length:
            raise ValueError(
                f"min_evaluation_length {self.min_evaluation_length} is more than max_evaluation_length "
                f"{self.max_evaluation_length}: lower it"
            )
        for key in ("max_response_length", "max_evaluation_length"):
            if getattr(self, key) >= self.max_model_len:
                raise ValueError(
                    f"{key} {getattr(self, key)} leaves no room for a prompt in max_model_len "
                    f"{self.max_model_len}: lower it"
                )
        return self
