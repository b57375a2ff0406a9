"""The section `data`: from source rows to the training pool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from egpo.config.section import Count, Name, Section, Seed, Share


class StandInSource(Section):
    """Synthetic rows in the schema and folders of OpenR1-Math, from egpo.synthetic.standin."""

    kind: Literal["standin"]
    seed: Seed
    default_rows: Count
    extended_rows: Count
    rows_per_shard: Count = 1000
    planted: bool = Field(
        False, description="Add the hard cases of egpo.synthetic.planted, and their table planted.csv."
    )


class LocalSource(Section):
    """A folder with the two sub-folders of OpenR1-Math, `data/` and `extended/`, of parquet shards."""

    kind: Literal["local"]
    path: Path = Field(description="The folder; a relative path starts at the repository.")


class HubSource(Section):
    """A dataset with the schema of OpenR1-Math on the Hugging Face Hub."""

    kind: Literal["hub"]
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str


class ProblemsSource(Section):
    """Files of problems and answers. They have no generations, hence no buckets; see docs/own-experiments.md."""

    kind: Literal["problems"]
    path: Path = Field(
        description="A .jsonl or .parquet file, or a folder of such files; a relative path starts at the repository."
    )
    problem: str = Field("problem", description="The column of the problem.")
    answer: str = Field("answer", description="The column of the answer.")
    answer_after: str | None = Field(
        None, description="The answer is what follows the last occurrence of this, e.g. '####'."
    )


Source = Annotated[StandInSource | LocalSource | HubSource | ProblemsSource, Field(discriminator="kind")]


class Rows(Section):
    """Rows to sample from a source without buckets."""

    rows: Count

    @property
    def total(self) -> int:
        return self.rows


class Quotas(Section):
    """Rows to sample from each stratum: subset x bucket (appendix A.2)."""

    default_mixed: int = Field(ge=0)
    default_correct: int = Field(ge=0)
    extended_mixed: int = Field(ge=0)
    extended_correct: int = Field(ge=0)

    @property
    def total(self) -> int:
        return sum(self.model_dump().values())


def _quotas_of(values: Any) -> str:
    rows = isinstance(values, Rows) or (isinstance(values, dict) and "rows" in values)
    return "Rows" if rows else "Quotas"


class Decontamination(Section):
    """Which problems count as questions of the evaluation sets; see docs/data.md."""

    benchmarks: tuple[Name, ...] | None = Field(None, description="Default: every benchmark of the experiment.")
    rules: tuple[Literal["exact", "digitless", "jaccard", "words", "containment", "lsh"], ...] = Field(
        ("exact", "digitless", "jaccard", "words", "containment"),
        description="A problem that one of these rules finds is dropped, with all its near-duplicates. 'exact': the "
        "same tokens; 'digitless': the same tokens except numbers; 'jaccard': exact Jaccard similarity of n-grams; "
        "'words': a common run of words; 'containment': the share of a question's n-grams that the problem contains; "
        "'lsh': a common band, without a check, as datasketch's MinHashLSH finds it.",
    )
    jaccard: float = Field(0.8, gt=0, le=1)
    words: Count = Field(13, description="Length of the run of words; numbers count, punctuation does not.")
    containment: float = Field(0.6, gt=0, le=1)


class Deduplication(Section):
    """MinHash-LSH on the problem texts; see docs/data.md."""

    mode: Literal["paper", "verified"] = Field(
        "verified",
        description="'paper': datasketch's bands; any two texts with a common band are duplicates. 'verified': more "
        "bands, and only pairs whose exact Jaccard similarity reaches the threshold.",
    )
    num_perm: Count = 128
    bands: Annotated[int, Field(ge=2)] = Field(
        16, description="For mode 'verified'; in mode 'paper' datasketch chooses."
    )
    threshold: float = Field(0.8, gt=0, lt=1, description="Jaccard similarity.")
    ngram_size: Count = Field(5, description="Tokens per n-gram.")
    conflicts: Literal["keep", "drop"] = Field(
        "drop", description="For a cluster whose rows have different answers: keep one row, or drop them all."
    )

    @model_validator(mode="after")
    def _divides(self) -> Deduplication:
        if self.num_perm % self.bands:
            raise ValueError(f"num_perm {self.num_perm} cannot be divided into {self.bands} equal bands: change one")
        return self


RowReason = Literal[
    "no-problem",
    "question-type",
    "proof-wording",
    "options",
    "multi-part",
    "figure",
    "link",
    "language",
    "no-answer",
    "yes-or-no",
    "several-values",
    "not-a-value",
    "few-generations",
    "no-boxed-match",
    "long-prompt",
    "long-response",
]


class Data(Section):
    """From OpenR1-Math to the training pool (appendix A.2); docs/data.md explains each step."""

    preset: Name = Field("recommended", description="Entry of config/data.yaml with the defaults of these keys.")
    source: Source
    tokenizer: Name = Field(description="The backbone whose tokenizer counts lengths.")
    question_types: tuple[Annotated[str, Field(pattern="^[^A-Z]+$")], ...] = Field(
        ("mcq", "proof"), description="Values of question_type to drop, in lower case."
    )
    min_generations: Count = 2
    max_prompt_tokens: Count = Field(4096, description="First length filter, on all rows.")
    max_response_tokens: Count = Field(
        4096, description="A row needs a generation with a boxed answer that is not longer."
    )
    keep: tuple[RowReason, ...] = Field((), description="Reasons that are noted but do not drop a row.")
    decontamination: Decontamination = Decontamination()
    deduplication: Deduplication = Deduplication()
    quotas: Annotated[Annotated[Quotas, Tag("Quotas")] | Annotated[Rows, Tag("Rows")], Discriminator(_quotas_of)]
    source_cap: float | None = Field(None, gt=0, le=1, description="Maximum share of a quota from one source.")
    max_deficit: Share = Field(
        0.01, description="Maximum share of rows that may be taken from a stratum other than that of their quota."
    )
    validation_rows: Count = Field(description="Taken from the sampled rows.")
    heldout_rows: int = Field(0, ge=0, description="Rows outside the quotas, kept for `uncertainty`, which needs some.")
    final_prompt_tokens: Count = Field(1024, description="Last length filter, after the sampling.")
    seed: Seed

    @model_validator(mode="after")
    def _buckets(self) -> Data:
        if isinstance(self.source, ProblemsSource) != isinstance(self.quotas, Rows):
            raise ValueError(
                "quotas: write {rows: ...} for a source of kind problems, which has no buckets, and default_mixed, "
                "default_correct, extended_mixed and extended_correct for every other kind"
            )
        return self
