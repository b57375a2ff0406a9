"""Models that trainings start from: entries of config/backbones.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from egpo.config.section import Count, Section, Seed, Share


class Architecture(Section):
    """Sizes of a decoder of the Qwen2 architecture, as in its config.json."""

    num_hidden_layers: Count
    hidden_size: Count
    intermediate_size: Count = Field(description="Width of the gated feed-forward layers.")
    num_attention_heads: Count
    num_key_value_heads: Count
    vocab_size: Count
    tie_word_embeddings: bool = Field(description="Whether input and output embeddings are the same matrix.")

    @property
    def kv_width(self) -> int:
        """Width of the keys of a token in a layer; the values have the same."""
        return self.hidden_size // self.num_attention_heads * self.num_key_value_heads

    @property
    def layer_parameters(self) -> int:
        """Parameters of a layer: attention with biases on q, k and v, gated feed-forward, two norms."""
        attention = (
            2 * self.hidden_size**2 + 2 * self.hidden_size * self.kv_width + self.hidden_size + 2 * self.kv_width
        )
        return attention + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size

    @property
    def parameters(self) -> int:
        """Parameters of the model."""
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)
        return embeddings + self.num_hidden_layers * self.layer_parameters + self.hidden_size


class HubModel(Section):
    """A model on the Hugging Face Hub."""

    kind: Literal["hub"]
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="owner/name on the Hub.")
    revision: str = Field("main", description="Branch, tag or commit; the commit that it resolves to is recorded.")
    architecture: Architecture | None = Field(
        None,
        description="Sizes for estimates before the download, which checks them. Required for a model that is trained.",
    )


class LocalModel(Section):
    """A folder in Hugging Face format: config.json, tokenizer and safetensors."""

    kind: Literal["local"]
    path: Path = Field(description="The folder; a relative path starts at the repository.")


class WarmUp(Section):
    """Supervised training that ends at the first measurement at which some problems are solved, but not most."""

    steps: Count = Field(description="At most; it ends sooner where the pass rate and the groups are in range.")
    batch_size: Count
    learning_rate: float = Field(gt=0)
    pass_rate: tuple[Share, Share] = Field((0.45, 0.65), description="Range that the pass rate should fall in.")
    group_share: Share = Field(
        0.1, description="Share that each kind of group should have: mixed, entirely correct, entirely incorrect."
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

    label: str = Field(description="Name in tables and figures.")
    source: Annotated[HubModel | LocalModel | SyntheticModel, Field(discriminator="kind")]
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
