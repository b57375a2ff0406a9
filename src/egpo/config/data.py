"""The section `data`: from source rows to the training pool."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from egpo.config.section import Count, Label, Levels, Name, Repo, Section, Seed, Several, Share, Whole


class StandInSource(Section):
    """Synthetic rows in the schema and folders of OpenR1-Math, from egpo.synthetic.standin."""

    kind: Literal["standin"]
    seed: Seed
    default_rows: Count
    extended_rows: Count
    rows_per_shard: Count = 1000
    level_weights: Levels | None = Field(
        None, description="Shares of the five levels of difficulty; default: those of egpo.synthetic.problems."
    )
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
    repo: Repo
    revision: str


def _given(section: Section) -> list[str]:
    """Keys whose value is not the default; `model_fields_set` also has those that a job's settings repeat."""
    return [key for key, field in type(section).model_fields.items() if getattr(section, key) != field.default]


class ProblemSet(Section):
    """Problems and answers, from files or from a dataset of the Hub, and the columns that hold them."""

    path: Path | None = Field(
        None,
        description="A .jsonl or .parquet file, or a folder of such files; a relative path starts at the repository.",
    )
    repo: str | None = Field(
        None,
        description="In place of `path`: a dataset that datasets.load_dataset reads. owner/name on the Hub, or a "
        "folder of the same layout, whose path begins with / or ./",
    )
    name: str | None = Field(None, description="Of a dataset with several configurations: the one to read.")
    split: str = Field("train", description="The split of a dataset to read.")
    revision: str | None = Field(None, description="Commit of a dataset of the Hub, so that the rows stay the same.")
    problem: str = Field("problem", description="The column of the problem.")
    answer: str = Field("answer", description="The column of the answer.")
    answer_after: str | None = Field(
        None,
        min_length=1,
        description="The answer is what follows the last occurrence of this, e.g. '####'. Rows without it have no "
        "answer, and are dropped as such.",
    )
    label: Label | None = Field(
        None,
        min_length=1,
        description="The source of these rows in funnel and sampling. Default: the name of the file or dataset.",
    )

    @property
    def on_hub(self) -> bool:
        """Whether `repo` is owner/name, and not a folder."""
        return self.repo is not None and bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", self.repo))

    @model_validator(mode="after")
    def _one_place(self) -> ProblemSet:
        alone = [key for key in ("name", "split", "revision") if key in _given(self)]
        if self.repo is None and alone:
            raise ValueError(f"{alone[0]} is for a dataset of the Hub: give its name as repo, or take {alone[0]} out")
        if self.path is not None and self.repo is not None:
            raise ValueError("path and repo are two places of the same problems: take one out, or list both in `sets`")
        if self.on_hub and self.revision is None:
            raise ValueError(
                f"revision is missing: the dataset {self.repo} can change, so name the commit to read (a folder's path "
                "begins with / or ./)"
            )
        if self.repo is not None and not self.on_hub and not self.repo.startswith(("/", "./", "../")):
            raise ValueError(f"repo '{self.repo}' is neither owner/name on the Hub nor a path that begins with / or ./")
        return self


class ProblemsSource(ProblemSet):
    """Problems and answers. They have no generations, hence no buckets; see docs/own-experiments.md."""

    kind: Literal["problems"]
    sets: tuple[ProblemSet, ...] = Field(
        (), description="Several files or datasets, each with columns of its own, in place of the keys beside it."
    )

    @property
    def parts(self) -> tuple[ProblemSet, ...]:
        """The sets of problems, also where there is one alone."""
        return self.sets or (self,)

    @model_validator(mode="after")
    def _somewhere(self) -> ProblemsSource:
        beside = [key for key in _given(self) if key not in ("kind", "sets")]
        if self.sets and beside:
            raise ValueError(f"{beside[0]} stands beside `sets`: move it into the entries of `sets`")
        if any(part.path is None and part.repo is None for part in self.parts):
            raise ValueError("give the problems' path, or the repo of a dataset, or several of them as `sets`")
        return self


Source = Annotated[StandInSource | LocalSource | HubSource | ProblemsSource, Field(discriminator="kind")]


class Rows(Section):
    """Rows to sample from a source without buckets."""

    rows: Count

    @property
    def total(self) -> int:
        return self.rows


class Quotas(Section):
    """Rows to sample from each stratum: subset x bucket (appendix A.2)."""

    default_mixed: Whole
    default_correct: Whole
    extended_mixed: Whole
    extended_correct: Whole

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
        "bands, and only pairs whose exact Jaccard similarity reaches the threshold and whose numbers are the same.",
    )
    num_perm: Count = 128
    bands: Several = Field(16, description="For mode 'verified'; in mode 'paper' datasketch chooses.")
    threshold: float = Field(0.8, gt=0, lt=1, description="Jaccard similarity.")
    ngram_size: Count = Field(5, description="Tokens per n-gram.")
    conflicts: Literal["keep", "drop"] = Field(
        "drop", description="For a cluster whose rows have different answers: keep one row, or drop them all."
    )
    max_per_template: Count | None = Field(
        None, description="Keep at most so many problems whose texts are the same but for their digits. Default: all."
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
    heldout_rows: Whole = Field(0, description="Rows outside the quotas, kept for `uncertainty`, which needs some.")
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
