"""Evaluation sets: entries of config/benchmarks.yaml."""

from __future__ import annotations

from pathlib import Path
from string import Formatter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from egpo.config.section import Count, Label, Repo, Section, Seed, Whole


class HubBenchmark(Section):
    """A dataset on the Hugging Face Hub in the format that evalscope reads for this benchmark."""

    kind: Literal["hub"]
    repo: Repo = Field(description="owner/name on the Hub.")
    revision: str = Field("main", description="Branch, tag or commit; the commit that it resolves to is recorded.")


class LocalBenchmark(Section):
    """A local folder in the format that evalscope reads for this benchmark."""

    kind: Literal["local"]
    path: Path = Field(description="The folder; a relative path starts at the repository.")


class SyntheticBenchmark(Section):
    """Held-out synthetic problems in the file format of the benchmark."""

    kind: Literal["synthetic"]
    seed: Seed
    templates: Literal["sums", "stories"] = Field(description="Which held-out wordings to use.")


class Judge(Section):
    """A language model that scores answers in place of evalscope's rules, behind an OpenAI-compatible endpoint."""

    model: str = Field(description="Name of the model at the endpoint.")
    url: str = Field(pattern=r"^https?://", description="Address of the endpoint, which usually ends in /v1.")
    key_variable: str = Field(
        "OPENAI_API_KEY", pattern=r"^[A-Z_][A-Z0-9_]*$", description="Environment variable that holds the key."
    )


class Benchmark(Section):
    """One evaluation set, run by evalscope."""

    label: Label = Field(description="Name in tables.")
    adapter: str = Field(description="evalscope's name for the benchmark.")
    source: Annotated[HubBenchmark | LocalBenchmark | SyntheticBenchmark, Field(discriminator="kind")]
    num_questions: Count = Field(description="Number of questions: the denominator of the accuracy.")
    num_fewshot: Whole = Field(description="Worked examples in the prompt.")
    subsets: tuple[str, ...] = Field((), description="evalscope's subset_list; empty for its default.")
    prompt: str | None = Field(None, description="Prompt template in place of evalscope's.")
    judge: Judge | None = Field(
        None, description="A judge in place of evalscope's rules, for benchmarks where evalscope supports one."
    )

    @model_validator(mode="after")
    def _asks(self) -> Benchmark:
        if self.prompt is None:
            return self
        if self.num_fewshot:
            raise ValueError("prompt is only possible with `num_fewshot: 0`: set it, or take prompt out")
        try:
            places = {place for _, place, _, _ in Formatter().parse(self.prompt) if place is not None}
        except ValueError as error:
            raise ValueError(f"prompt: {error}; write a literal brace as {{{{ or }}}}") from None
        if "question" not in places or not all(place.isidentifier() for place in places):
            raise ValueError("prompt must contain {question}, and each literal brace twice, as in \\boxed{{}}")
        return self
