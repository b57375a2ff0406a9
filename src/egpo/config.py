"""The configuration: one pydantic model per section, every key described, unknown keys refused.

`load` reads an experiment (config/paper.yaml, config/demo.yaml or one of your own) with the three
catalogues it draws on: methods, backbones and benchmarks. `python -m egpo.config` writes the JSON
schema of each file into config/schemas/.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from egpo.errors import UserError

ROOT = Path(__file__).resolve().parents[2]

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="Lower-case name, used in paths.")]
# Strict: YAML's `yes` is no 1.
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the configuration. A key that is not described is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


# --- methods -------------------------------------------------------------------------------------


class Calibration(Section):
    """Entropy weights and base advantage of a method: Eq. (5) to (13) and Table 2 of the paper; see docs/methods.md."""

    weight: str = Field(
        "none",
        pattern=r"^(none|entropy|[^:]+\.py:[A-Za-z_]\w*)$",
        description="'none' is w = 1 for every response, 'entropy' is Eq. (7), and file.py:function, a path from the "
        "repository, a function of your own in its place; see docs/own-experiments.md.",
    )
    entropy: Literal["sampled", "distribution"] = Field(
        "sampled",
        description="What is averaged over tokens: 'sampled' is -log pi of the sampled token, Eq. (5); 'distribution' "
        "is the Shannon entropy of the whole next-token distribution (EDGE-GRPO).",
    )
    scope: Literal["response", "thinking", "answer"] = Field(
        "response",
        description="Over which tokens: all, those up to and with the first </think>, or those after it. A response "
        "without such tokens has no entropy, and w = 1 before the clamp.",
    )
    lam_min: float = Field(0.8, gt=0, le=1, description="Lower bound of the clamp, Eq. (8).")
    lam_max: float = Field(2.0, ge=1, description="Upper bound of the clamp, Eq. (8).")
    eps_h: float = Field(1e-5, gt=0, description="epsilon_H of Eq. (7), in nats per token.")
    correct: Literal["floor", "clip", "raw"] = Field(
        "floor",
        description="r = +1: 'floor' is max(1, clip(w)) of Eq. (8), 'clip' only clips to the bounds, 'raw' neither.",
    )
    incorrect: Literal["cap", "clip", "raw"] = Field(
        "cap",
        description="r = -1: 'cap' is min(1, clip(w)) of Eq. (8), 'clip' only clips to the bounds, 'raw' neither.",
    )
    lock: Literal["none", "entirely_incorrect", "incorrect"] = Field(
        "none",
        description="Whose weights are set to 1 in the end (C4): nobody's, all of an entirely-incorrect group, or "
        "every incorrect response's.",
    )
    renorm: Literal["none", "before", "before_clipped", "after"] = Field(
        "none",
        description="Eq. (9): not at all; before the clamp on the raw weights (C6), or on the clipped ones; after the "
        "clamp (C5).",
    )
    nsr: bool = Field(False, description="Base advantage -1 on entirely-incorrect groups, Eq. (13).")

    @property
    def own(self) -> tuple[Path, str] | None:
        """File and name of the user's own function of weights, if there is one."""
        file, _, function = self.weight.rpartition(":")
        return (ROOT / file, function) if file else None


class Overlong(Section):
    """DAPO's soft punishment of long responses. The reward is then no longer the binary one of Eq. (1)."""

    buffer: Count = Field(description="The last so many tokens before the limit are punished, rising linearly.")
    penalty: float = Field(1.0, gt=0, le=1, description="What a response that reaches the limit loses.")


class Method(Section):
    """One training method: what differs between GRPO, DAPO, EDGE-GRPO, EGPO and the ablations."""

    label: str = Field(description="Name in tables and figures.")
    calibration: Calibration = Calibration()
    clip_low: float = Field(0.2, gt=0, lt=1, description="epsilon of the clip below 1, Eq. (3).")
    clip_high: float = Field(0.2, gt=0, description="epsilon of the clip above 1, Eq. (3).")
    clip_dual: float = Field(
        3.0, gt=1, description="Where A < 0, verl bounds the loss at this ratio; not part of Eq. (3) and (14)."
    )
    dynamic_sampling: bool = Field(False, description="Replace groups of uniform reward (DAPO).")
    most_batches: Count = Field(
        10, description="With dynamic_sampling: a step that generates more rollout batches ends with an error."
    )
    overlong: Overlong | None = Field(None, description="DAPO's overlong shaping; off, as rewards must be binary.")

    @model_validator(mode="after")
    def _binary(self) -> Method:
        if self.overlong and (self.calibration.weight != "none" or self.calibration.nsr):
            raise ValueError(
                "overlong shaping makes rewards other than +1 and -1, which entropy weights and NSR need (Eq. 1): "
                "take out overlong, or set weight: none and nsr: false"
            )
        return self


# --- backbones -----------------------------------------------------------------------------------


class Architecture(Section):
    """Sizes of a decoder of Qwen2's kind, as its config.json gives them."""

    layers: Count
    hidden: Count
    intermediate: Count = Field(description="Width of the gated feed-forward layers.")
    heads: Count
    kv_heads: Count
    vocabulary: Count
    tied: bool = Field(description="Whether input and output embeddings are one matrix.")

    @property
    def kv_width(self) -> int:
        """Width of a token's keys in a layer, and of its values."""
        return self.hidden // self.heads * self.kv_heads

    @property
    def layer_parameters(self) -> int:
        """Attention with biases on q, k and v; gated feed-forward; two norms."""
        attention = 2 * self.hidden**2 + 2 * self.hidden * self.kv_width + self.hidden + 2 * self.kv_width
        return attention + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def parameters(self) -> int:
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * self.layer_parameters + self.hidden


class HubModel(Section):
    """A model on the Hugging Face Hub."""

    kind: Literal["hub"]
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="owner/name on the Hub.")
    revision: str = Field("main", description="Branch, tag or commit; the commit it resolves to is recorded.")
    architecture: Architecture | None = Field(
        None, description="For estimates before the download, which checks it; needed where the model is trained."
    )


class LocalModel(Section):
    """A folder in Hugging Face format: config.json, tokenizer and safetensors."""

    kind: Literal["local"]
    path: Path = Field(description="The folder; relative paths start at the repository.")


class WarmUp(Section):
    """Supervised training that makes a synthetic backbone solve some problems but not most."""

    problems: Count = Field(description="How many distinct problems the corpus is drawn from.")
    steps: Count
    batch: Count
    learning_rate: float = Field(gt=0)
    pass_rate: tuple[Share, Share] = Field((0.2, 0.7), description="Range that the pass rate must fall in.")
    group_share: Share = Field(
        0.1, description="Least share of mixed, of entirely-correct and of entirely-incorrect groups."
    )


class SyntheticModel(Section):
    """A tiny Qwen2-architecture model that is made here, for the demo and the tests."""

    kind: Literal["synthetic"]
    seed: Seed = 1
    layers: Count = 3
    width: Count = 128
    heads: Count = 4
    warm_up: WarmUp


class Backbone(Section):
    """A model that trainings start from."""

    label: str = Field(description="Name in tables and figures.")
    source: Annotated[HubModel | LocalModel | SyntheticModel, Field(discriminator="kind")]
    thinks: bool = Field(
        False, description="Its prompts open <think>, as DeepSeek-R1-Distill's: responses are thoughts up to </think>."
    )
    context: Count = Field(description="Context length in tokens.")
    prompt_tokens: Count = Field(description="Longest prompt in training, in tokens.")
    response_tokens: Count = Field(description="Longest response in training, in tokens.")
    evaluation_tokens: Count = Field(description="Longest response in evaluation, in tokens.")
    least_evaluation_tokens: Count | None = Field(
        None,
        description="Where a prompt leaves less of the context than `evaluation_tokens`, the response gets what is "
        "left, but the question is not asked, and wrong, below this. Not given: `evaluation_tokens`.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Backbone:
        if (self.least_evaluation_tokens or 0) > self.evaluation_tokens:
            raise ValueError(
                f"least_evaluation_tokens {self.least_evaluation_tokens} is more than evaluation_tokens "
                f"{self.evaluation_tokens}: lower it"
            )
        for key in ("response_tokens", "evaluation_tokens"):
            if getattr(self, key) >= self.context:
                raise ValueError(
                    f"{key} {getattr(self, key)} leaves no room for a prompt in context {self.context}: lower it"
                )
        return self


# --- benchmarks ----------------------------------------------------------------------------------


class HubBenchmark(Section):
    """evalscope's own dataset, fetched by evalscope."""

    kind: Literal["hub"]


class LocalBenchmark(Section):
    """A local folder in the format that evalscope reads for this benchmark."""

    kind: Literal["local"]
    path: Path = Field(description="The folder; relative paths start at the repository.")


class SyntheticBenchmark(Section):
    """Held-out synthetic problems in the benchmark's own file format."""

    kind: Literal["synthetic"]
    seed: Seed
    templates: Literal["sums", "stories"] = Field(description="Which held-out wordings to use.")


class Judge(Section):
    """A language model that scores answers in place of evalscope's rules, behind an OpenAI-compatible endpoint."""

    model: str = Field(description="The endpoint's name of the model.")
    url: str = Field(pattern=r"^https?://", description="The endpoint, usually ending in /v1.")
    key_variable: str = Field(
        "OPENAI_API_KEY", pattern=r"^[A-Z_][A-Z0-9_]*$", description="Environment variable that holds the key."
    )


class Benchmark(Section):
    """One evaluation set, run by evalscope."""

    label: str = Field(description="Name in tables.")
    adapter: str = Field(description="evalscope's name of the benchmark.")
    source: Annotated[HubBenchmark | LocalBenchmark | SyntheticBenchmark, Field(discriminator="kind")]
    items: Count = Field(description="Number of questions: the denominator of the accuracy.")
    shots: int = Field(ge=0, description="Worked examples in the prompt.")
    subsets: tuple[str, ...] = Field((), description="evalscope's subset_list; empty for its default.")
    prompt: str | None = Field(None, description="Prompt template in place of evalscope's own.")
    judge: Judge | None = Field(None, description="A judge in place of evalscope's rules, where evalscope has one.")

    @model_validator(mode="after")
    def _asks(self) -> Benchmark:
        if self.prompt is None:
            return self
        if self.shots:
            raise ValueError("prompt is possible with `shots: 0` alone: set it, or take prompt out")
        try:
            places = {place for _, place, _, _ in Formatter().parse(self.prompt) if place is not None}
        except ValueError as error:
            raise ValueError(f"prompt: {error}; write a brace that is one as {{{{ or }}}}") from None
        if "question" not in places or not all(place.isidentifier() for place in places):
            raise ValueError("prompt must hold {question}, and every brace that is one twice, as in \\boxed{{}}")
        return self


# --- experiment ----------------------------------------------------------------------------------


class StandInSource(Section):
    """Synthetic rows in OpenR1-Math's schema and folders, made by egpo.data.standin."""

    kind: Literal["standin"]
    seed: Seed
    default_rows: Count
    extended_rows: Count
    rows_per_shard: Count = 1000
    planted: bool = Field(False, description="Add the hard cases of egpo.data.planted, and their table planted.csv.")


class LocalSource(Section):
    """A folder with OpenR1-Math's two sub-folders of parquet shards, `data/` and `extended/`."""

    kind: Literal["local"]
    path: Path = Field(description="The folder; relative paths start at the repository.")


class HubSource(Section):
    """A dataset of OpenR1-Math's schema on the Hugging Face Hub."""

    kind: Literal["hub"]
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str


class ProblemsSource(Section):
    """Files of problems and answers, without generations and so without buckets; see docs/own-experiments.md."""

    kind: Literal["problems"]
    path: Path = Field(description="A .jsonl or .parquet file, or a folder of them (paths from the repository).")
    problem: str = Field("problem", description="The column of the problem.")
    answer: str = Field("answer", description="The column of the answer.")
    answer_after: str | None = Field(None, description="The answer is what follows the last of these, e.g. '####'.")

    @property
    def files(self) -> list[Path]:
        """The files under `path`, by name."""
        whole = ROOT / self.path
        found = whole.iterdir() if whole.is_dir() else [whole]
        return sorted(file for file in found if file.suffix in (".jsonl", ".parquet") and file.is_file())


Source = Annotated[StandInSource | LocalSource | HubSource | ProblemsSource, Field(discriminator="kind")]


class Rows(Section):
    """Rows to sample of a source without generations, which has no buckets."""

    rows: Count

    @property
    def total(self) -> int:
        return self.rows

    @property
    def strata(self) -> dict[tuple[str, str], int]:
        """As those of Quotas."""
        return {("default", "unknown"): self.rows}


class Quotas(Section):
    """Rows to sample from each stratum: subset x bucket (appendix A.2)."""

    default_mixed: int = Field(ge=0)
    default_correct: int = Field(ge=0)
    extended_mixed: int = Field(ge=0)
    extended_correct: int = Field(ge=0)

    @property
    def total(self) -> int:
        return sum(self.strata.values())

    @property
    def strata(self) -> dict[tuple[str, str], int]:
        """Rows asked for, by (subset, bucket)."""
        return {(name.split("_")[0], name.split("_")[1]): rows for name, rows in self.model_dump().items()}


def _quotas_of(values: Any) -> str:
    rows = isinstance(values, Rows) or (isinstance(values, dict) and "rows" in values)
    return "Rows" if rows else "Quotas"


class Decontamination(Section):
    """Which problems count as items of the evaluation sets; see docs/data.md."""

    benchmarks: tuple[Name, ...] | None = Field(None, description="Every benchmark of the experiment if not given.")
    rules: tuple[Literal["exact", "digitless", "jaccard", "words", "containment", "lsh"], ...] = Field(
        ("exact", "digitless", "jaccard", "words", "containment"),
        description="A problem that one of these finds is dropped, with all its near-duplicates. 'exact': the same "
        "tokens; 'digitless': the same tokens but numbers; 'jaccard': exact similarity of shingles; 'words': a run of "
        "words that an item has as well; 'containment': the share of an item's shingles that it holds; 'lsh': a band "
        "shared with an item, unchecked, as datasketch's MinHashLSH finds it.",
    )
    jaccard: float = Field(0.8, gt=0, le=1)
    words: Count = Field(13, description="Length of the run, numbers included, signs left out.")
    containment: float = Field(0.6, gt=0, le=1)


class Deduplication(Section):
    """MinHash-LSH over the problem texts; see docs/data.md."""

    mode: Literal["paper", "verified"] = Field(
        "verified",
        description="'paper': datasketch's bands, every two texts that share one are duplicates. 'verified': more "
        "bands, and only pairs whose exact Jaccard similarity reaches the threshold.",
    )
    permutations: Count = 128
    bands: Annotated[int, Field(ge=2)] = Field(16, description="In mode 'verified'; datasketch chooses in 'paper'.")
    threshold: float = Field(0.8, gt=0, lt=1, description="Jaccard similarity.")
    shingle: Count = Field(5, description="Tokens per shingle.")
    conflicts: Literal["keep", "drop"] = Field(
        "drop", description="A cluster whose rows give different answers: keep one row all the same, or drop them all."
    )

    @model_validator(mode="after")
    def _divides(self) -> Deduplication:
        if self.permutations % self.bands:
            raise ValueError(f"permutations {self.permutations} cannot be cut into {self.bands} bands of equal size")
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


ABOUT_GENERATIONS: tuple[RowReason, ...] = ("few-generations", "no-boxed-match", "long-response")


class Data(Section):
    """From OpenR1-Math to the training pool (appendix A.2); docs/data.md has each step."""

    preset: Name = Field("recommended", description="Entry of config/data.yaml that these keys are laid over.")
    source: Source
    tokenizer: Name = Field(description="The backbone whose tokenizer measures lengths.")
    question_types: tuple[Annotated[str, Field(pattern="^[^A-Z]+$")], ...] = Field(
        ("mcq", "proof"), description="Values of question_type to drop, in lower case."
    )
    min_generations: Count = 2
    max_prompt_tokens: Count = Field(4096, description="First length filter, on every row.")
    max_response_tokens: Count = Field(4096, description="At least one boxed generation must not be longer.")
    keep: tuple[RowReason, ...] = Field((), description="Reasons that are noted but drop no row.")
    decontamination: Decontamination = Decontamination()
    deduplication: Deduplication = Deduplication()
    quotas: Annotated[Annotated[Quotas, Tag("Quotas")] | Annotated[Rows, Tag("Rows")], Discriminator(_quotas_of)]
    source_cap: float | None = Field(None, gt=0, le=1, description="Largest share of a quota from one source.")
    max_deficit: Share = Field(
        0.01, description="Largest share of the rows that may come from another stratum than their quota's."
    )
    validation_rows: Count = Field(description="Taken out of the sampled rows.")
    heldout_rows: int = Field(
        0, ge=0, description="Rows that no quota took, kept for the diagnosis of entropies; `uncertainty` needs some."
    )
    final_prompt_tokens: Count = Field(1024, description="Last length filter, after sampling.")
    seed: Seed

    @property
    def noted(self) -> tuple[str, ...]:
        """Reasons that drop no row: `keep`, and, where rows have no generations, those that ask for some."""
        return (*self.keep, *(ABOUT_GENERATIONS if isinstance(self.source, ProblemsSource) else ()))

    @model_validator(mode="after")
    def _buckets(self) -> Data:
        if isinstance(self.source, ProblemsSource) != isinstance(self.quotas, Rows):
            raise ValueError(
                "quotas are {rows: ...} where source is of kind problems, which has no generations and so no buckets, "
                "and else default_mixed, default_correct, extended_mixed and extended_correct"
            )
        return self


Attention = Literal["packed", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3", "flash_attention_4"]


class Training(Section):
    """What every training has in common."""

    platform: Literal["cpu", "cuda"]
    prompts_per_step: Count = Field(description="Prompts in a rollout batch, which is also one PPO mini-batch.")
    rollouts: Annotated[int, Field(ge=2, strict=True)] = Field(description="Responses per prompt, N.")
    epochs: Count | None = None
    steps: Count | None = Field(None, description="Optimiser steps; give this or `epochs`.")
    learning_rate: float = Field(gt=0, lt=1)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(-1, ge=-1, description="-1 for all tokens.")
    save_every: Count = Field(description="Steps between checkpoints: the most that a failure can lose.")
    validate_every: Count = Field(description="Steps between validations.")
    nodes: Count = Field(1, description="Several: on Slurm, or on a Ray of your own (docs/cluster.md).")
    gpus_per_node: Count = 1
    gpu_gib: float = Field(80, gt=0, description="Memory of one GPU, for the estimate of what fits.")
    rollout_memory: float = Field(0.6, gt=0, lt=1, description="Share of a GPU's memory that vLLM takes.")
    attention: Attention = Field(
        "packed",
        description="transformers' attn_implementation of the trained model. `packed` is ours and needs no package; "
        "`sdpa` builds a mask of tokens x tokens.",
    )
    verl: dict[str, Any] = Field({}, description="Further verl settings by dotted key; they win over ours.")

    @model_validator(mode="after")
    def _one_budget(self) -> Training:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of epochs and steps")
        return self


class Evaluation(Section):
    """Decoding and trials: one run of every benchmark per seed."""

    seeds: tuple[Seed, ...] = Field(min_length=1, description="One trial per seed.")
    temperature: float = Field(0.6, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: int = Field(20, ge=-1, description="-1 for all tokens.")
    concurrency: Count = Field(64, description="Requests in flight.")
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    kv_cache_gib: float | None = Field(None, gt=0, description="CPU only: memory for vLLM's KV cache.")
    platform: Literal["cpu", "cuda"]
    gpus: Count = 1


class Uncertainty(Section):
    """What entropies tell: rollouts on the held-out rows of the data, with the decoding of the evaluation."""

    rollouts: Annotated[int, Field(ge=2, strict=True)] = Field(
        8, description="Responses per problem, each with a seed of its own."
    )
    problems_per_shard: Count = Field(50, description="The most that a failure can lose.")


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


class Overlay(Section):
    """Keys that one backbone has otherwise than the experiment."""

    training: dict[str, Any] = {}
    evaluation: dict[str, Any] = {}
    jobs: dict[str, Any] = {}


class Ablations(Section):
    """Table 2: variants of one method on one backbone."""

    backbone: Name
    reference: Name = Field("egpo", description="The method that they change; it must be one of `methods`.")
    methods: tuple[Name, ...]
    benchmarks: tuple[Name, ...]


class Definitions(Section):
    """Entries of this experiment alone; they add to the catalogues, or take the place of an entry there."""

    methods: dict[Name, Method] = {}
    backbones: dict[Name, Backbone] = {}
    benchmarks: dict[Name, Benchmark] = {}


class FurtherModel(Section):
    """A model that is evaluated beside the experiment's own, and not trained."""

    model: str = Field(description="A folder in Hugging Face format (from the repository), or owner/name on the Hub.")
    like: Name = Field(description="The backbone whose context and numbers of tokens it has.")
    label: str | None = Field(None, description="Name in tables; that of the entry if not given.")


class Experiment(Section):
    """A whole experiment: everything between the source data and the tables."""

    experiment: Name = Field(description="Results appear in results/<experiment>/.")
    note: str = Field("", description="Printed under every table and figure: what these results can mean.")
    backbones: tuple[Name, ...] = Field(min_length=1)
    methods: tuple[Name, ...] = Field(min_length=1)
    training_seeds: tuple[Seed, ...] = Field(min_length=1)
    benchmarks: tuple[Name, ...] = Field(min_length=1)
    also_evaluate: dict[Name, FurtherModel] = Field({}, description="Other models for Table 1, by a name of their own.")
    ablations: Ablations | None = None
    uncertainty: Uncertainty | None = Field(None, description="Table 3 and Figures 3 to 9; not made if not given.")
    data: Data
    training: Training
    evaluation: Evaluation
    jobs: Jobs = Jobs()
    by_backbone: dict[Name, Overlay] = Field(
        {}, description="Laid over training, evaluation and jobs for one backbone, e.g. GPUs, nodes, hours and memory."
    )
    define: Definitions = Definitions()

    def of(self, backbone: str) -> Experiment:
        """The experiment as it is for one backbone."""
        if backbone not in self.by_backbone:
            return self
        over = self.by_backbone[backbone].model_dump()
        return Experiment.model_validate(_merged(self.model_dump(), over))


class Catalogue(Section):
    """An experiment, every method there is, and the backbones and benchmarks that it names."""

    experiment: Experiment
    methods: dict[Name, Method]
    backbones: dict[Name, Backbone]
    benchmarks: dict[Name, Benchmark]


# --- reading -------------------------------------------------------------------------------------


def _suggest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


# Tags of choices: pydantic puts them into the place of an error, but no key of the file has them.
TAGS = {"hub", "local", "synthetic", "standin", "problems", "Quotas", "Rows", "[key]"}
PATTERNS = {
    "^[a-z0-9]": "a name has lower-case letters, digits, '.', '_' and '-' alone, and begins with a letter or digit",
    r"^[\w.-]+/": "the name of a model or dataset on the Hub is owner/name",
    "^https?": "it begins with http:// or https://",
    "^[A-Z_]": "it is the name of an environment variable, in capitals",
    "^(none": "it is none, entropy, or file.py:function for one of your own",
    "^[^A-Z]": "rows are compared in lower case: write it so",
}


def _keys_of(model: type[BaseModel], location: tuple[int | str, ...]) -> dict[str, Any]:
    """The schemas of the keys at a place of `model`, as far as the model tells them."""
    schema = model.model_json_schema()

    def followed(node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        return node

    node = followed(schema)
    for part in location:
        choices = [*node.get("anyOf", []), *node.get("oneOf", [])]
        named = node.get("discriminator", {}).get("mapping", {}).get(part, f"#/$defs/{part}")
        if part in node.get("properties", {}):
            node = node["properties"][part]
        elif {"$ref": named} in choices:
            node = {"$ref": named}
        elif choices:  # an optional section
            node = followed(choices[0]).get("properties", {}).get(part, {})
        else:  # a mapping of names to sections
            node = next(iter(node.get("patternProperties", {}).values()), node.get("additionalProperties") or {})
        node = followed(node)
    if "properties" not in node and "anyOf" in node:
        node = followed(node["anyOf"][0])
    return node.get("properties", {})


def _remedy(error: dict[str, Any]) -> str:
    """What is allowed, in the words of a YAML file where pydantic's are Python's."""
    if error["type"] == "string_pattern_mismatch":
        pattern = error["ctx"]["pattern"]
        return next((words for start, words in PATTERNS.items() if pattern.startswith(start)), error["msg"])
    if error["type"] in ("tuple_type", "list_type"):
        return f"a list is wanted: [{error['input']}]"
    if error["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return "keys with values are wanted"
    if error["type"] == "too_short":
        return "at least one entry is wanted"
    return error["msg"].removeprefix("Value error, ")


def _describe(error: dict[str, Any], model: type[BaseModel]) -> str:
    """One error of pydantic's as a line: key, value, and what is allowed there."""
    place = error["loc"]
    key = ".".join(str(part) for part in place if part not in TAGS) or "(top level)"
    if error["type"] == "extra_forbidden":
        known = _keys_of(model, place[:-1])
        return f"{key}: there is no such key.{_suggest(str(place[-1]), known)} Allowed here: {', '.join(known)}."
    if error["type"] == "missing":
        means = _keys_of(model, place[:-1]).get(place[-1], {}).get("description", "")
        return f"{key}: this key is missing.{f' Add it: {means}' if means else ' Add it.'}"
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        kinds = ", ".join(_keys_of(model, place[:-1])[place[-1]]["discriminator"]["mapping"])
        given = error.get("ctx", {}).get("tag")
        what = f"{given!r} is not allowed" if given else "this key is missing"
        return f"{key}.kind: {what}: it is one of {kinds}."
    value = "" if isinstance(error["input"], dict) else f"{error['input']!r} is not allowed: "
    return f"{key}: {value}{_remedy(error)}."


def parse(model: type[Section], values: Any, source: str) -> Any:
    """`values` as `model`, or a UserError with one line per wrong key of the file `source`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = [dict(item) for item in error.errors()]
        # A list whose entries are all wrong is also reported as too short.
        inside = {item["loc"][:-1] for item in found}
        found = [item for item in found if item["type"] != "too_short" or item["loc"] not in inside]
        lines = [f"{source}: {_describe(item, model)}" for item in found]
        raise UserError("\n".join(lines)) from None


def _check_once(node: yaml.Node | None, path: Path) -> None:
    """Raise UserError for a key that stands twice in a mapping: YAML would take the last one in silence."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_once(item, path)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else str(key.start_mark)
        if name in seen:
            raise UserError(
                f"{path}: line {key.start_mark.line + 1}: the key '{name}' stands twice, and YAML would take the last "
                "one. Take one out."
            )
        seen.add(name)
        _check_once(value, path)


def _what_is_wrong(error: yaml.YAMLError) -> str:
    """One line on a file that YAML cannot read."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error).splitlines()[0]
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    remedy = " Indent with blanks." if "\\t" in problem else ""
    return f"{place}{problem}. Mend this line or the one before it.{remedy}"


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, or a UserError that says what is wrong with the file."""
    try:
        text = path.read_text(encoding="utf-8")
        _check_once(yaml.compose(text, yaml.SafeLoader), path)
        values = yaml.safe_load(text)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not valid YAML: byte {error.start} is not UTF-8. Save the file as UTF-8.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {_what_is_wrong(error)}") from None
    if not isinstance(values, dict):
        found = "nothing" if values is None else type(values).__name__
        raise UserError(f"{path}: expected keys with values, found {found}. config/demo.yaml is an example.")
    return values


def read_files(paths: Iterable[str | Path]) -> dict[str, Any]:
    """Files of one experiment, each laid over those before it, as Snakemake does; raises as `read_yaml` does."""
    values: dict[str, Any] = {}
    for path in paths:
        values = _merged(values, read_yaml(Path(path)))
    return values


def _read_catalogue(name: str, model: type[Section], own: dict[str, Any]) -> dict[str, Any]:
    """Entries of config/<name>.yaml and the experiment's own."""
    entries = read_yaml(ROOT / "config" / f"{name}.yaml")
    return {key: parse(model, value, f"config/{name}.yaml: {key}") for key, value in entries.items()} | own


def _pick(names: Iterable[str], entries: dict[str, Any], key: str, source: str, file: str) -> dict[str, Any]:
    for name in names:
        if name not in entries:
            raise UserError(
                f"{source}: {key}: '{name}' is not an entry of config/{file}.{_suggest(name, entries)} "
                f"Known: {', '.join(entries)}."
            )
    return {name: entries[name] for name in dict.fromkeys(names)}


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, mapping by mapping."""
    merged = {**base, **over}
    for key in base.keys() & over.keys():
        if isinstance(base[key], dict) and isinstance(over[key], dict):
            merged[key] = _merged(base[key], over[key])
    return merged


def with_preset(data: Any, source: str) -> Any:
    """The section `data` laid over its preset of config/data.yaml. Raises UserError for a preset that is not there."""
    if not isinstance(data, dict):
        return data
    presets = read_yaml(ROOT / "config" / "data.yaml")
    name = data.get("preset", Data.model_fields["preset"].default)
    if not isinstance(name, str) or name not in presets:
        raise UserError(
            f"{source}: data.preset: '{name}' is not an entry of config/data.yaml.{_suggest(str(name), presets)} "
            f"Known: {', '.join(presets)}."
        )
    return _merged(presets[name], data)


def _check_listed(names: Iterable[str], known: tuple[str, ...], where: str, section: str) -> None:
    for name in names:
        if name not in known:
            raise UserError(
                f"{where}: '{name}' is not one of this experiment's {section}.{_suggest(name, known)} "
                f"They are: {', '.join(known)}."
            )


def _check_folder(path: Path, where: str, wants: str) -> None:
    if not (ROOT / path).is_dir():
        raise UserError(f"{where}: '{path}' is not a folder. Give the path of {wants}.")


def _check_paths(catalogue: Catalogue, source: str) -> None:
    """Every local folder that the experiment names must be there before anything runs."""

    def place(kind: str, name: str) -> str:
        own = name in getattr(catalogue.experiment.define, kind)
        return f"{source}: define.{kind}.{name}" if own else f"config/{kind}.yaml: {name}"

    for name, backbone in catalogue.backbones.items():
        if isinstance(backbone.source, LocalModel):
            further = name in catalogue.experiment.also_evaluate
            where = f"{source}: also_evaluate.{name}.model" if further else f"{place('backbones', name)}.source.path"
            _check_folder(backbone.source.path, where, "a model in Hugging Face format")
            if not (ROOT / backbone.source.path / "config.json").is_file():
                raise UserError(
                    f"{where}: '{backbone.source.path}' holds no config.json: it is no Hugging Face model. "
                    "Give a folder that is one."
                )
    for name, benchmark in catalogue.benchmarks.items():
        if isinstance(benchmark.source, LocalBenchmark):
            where = f"{place('benchmarks', name)}.source.path"
            _check_folder(benchmark.source.path, where, f"a dataset in the format of evalscope's {benchmark.adapter}")
    data = catalogue.experiment.data.source
    if isinstance(data, LocalSource):
        _check_folder(data.path, f"{source}: data.source.path", "a folder with data/ and extended/")


def _check_sense(experiment: Experiment, source: str) -> None:
    """What no single key can tell: sizes that contradict each other."""
    data, training = experiment.data, experiment.training
    rows = data.quotas.total - data.validation_rows
    if rows < training.prompts_per_step:
        raise UserError(
            f"{source}: data.quotas: {data.quotas.total} rows less data.validation_rows {data.validation_rows} are "
            f"fewer than training.prompts_per_step {training.prompts_per_step}: raise the quotas or lower the batch."
        )
    if experiment.uncertainty is not None and not data.heldout_rows:
        raise UserError(f"{source}: data.heldout_rows: 0, but `uncertainty` asks these rows: raise it, or take it out.")
    for key in ("training_seeds", "backbones", "methods", "benchmarks"):
        values = getattr(experiment, key)
        if len(set(values)) < len(values):
            raise UserError(f"{source}: {key}: an entry stands twice. Take one out.")
    if len(set(experiment.evaluation.seeds)) < len(experiment.evaluation.seeds):
        raise UserError(
            f"{source}: evaluation.seeds: two trials with one seed would be one trial counted twice. Give others."
        )
    if "base" in experiment.methods:
        raise UserError(f"{source}: methods: 'base' is the untrained backbone and always evaluated; take it out.")


def _check_overlays(values: dict[str, Any], experiment: Experiment, source: str) -> None:
    _check_listed(experiment.by_backbone, experiment.backbones, f"{source}: by_backbone", "backbones")
    for name in experiment.by_backbone:
        parse(Experiment, _merged(values, values["by_backbone"][name]), f"{source}: by_backbone.{name}")


def _further(experiment: Experiment, backbones: dict[str, Backbone], source: str) -> dict[str, Backbone]:
    """The models that are evaluated alone, as backbones: a folder if there is one, else a name on the Hub."""
    made = {}
    for name, entry in experiment.also_evaluate.items():
        where = f"{source}: also_evaluate.{name}"
        if name in backbones:
            raise UserError(f"{where}: there is a backbone of this name. Choose another one.")
        like = _pick([entry.like], backbones, f"also_evaluate.{name}.like", source, "backbones.yaml")[entry.like]
        local = (ROOT / entry.model).is_dir()
        kind = {"kind": "local", "path": entry.model} if local else {"kind": "hub", "repo": entry.model}
        found = re.fullmatch(r"[\w.-]+/[\w.-]+", entry.model)
        if not local and not found:
            raise UserError(f"{where}.model: '{entry.model}' is no folder, and no owner/name on the Hub.")
        values = {**like.model_dump(), "label": entry.label or name, "source": kind}
        made[name] = parse(Backbone, values, where)
    return made


def _check_architectures(experiment: Experiment, backbones: dict[str, Backbone], source: str) -> None:
    for name in experiment.backbones:
        model = backbones[name].source
        if isinstance(model, HubModel) and model.architecture is None:
            own = name in experiment.define.backbones
            where = f"{source}: define.backbones.{name}" if own else f"config/backbones.yaml: {name}"
            raise UserError(
                f"{where}.source.architecture: this key is missing. A model of the Hub that is trained needs its "
                f"sizes, for the estimate of its memory: {', '.join(Architecture.model_fields)}."
            )


def load(values: dict[str, Any], source: str) -> Catalogue:
    """The experiment described by `values`, checked, with the catalogue entries that it names.

    `source` is the file that messages name. Raises UserError, one line per wrong key.
    """
    values = {**values, "data": with_preset(values["data"], source)} if "data" in values else values
    experiment: Experiment = parse(Experiment, values, source)
    methods = _read_catalogue("methods", Method, experiment.define.methods)
    backbones = _read_catalogue("backbones", Backbone, experiment.define.backbones)
    benchmarks = _read_catalogue("benchmarks", Benchmark, experiment.define.benchmarks)
    ablations = experiment.ablations
    _check_sense(experiment, source)
    _check_overlays(values, experiment, source)
    _pick(experiment.methods, methods, "methods", source, "methods.yaml")
    if ablations is not None:
        # Table 2 shows base and reference beside the ablations: its backbone and benchmarks are Table 1's.
        for key, section, names in (
            ("backbone", "backbones", [ablations.backbone]),
            ("reference", "methods", [ablations.reference]),
            ("benchmarks", "benchmarks", ablations.benchmarks),
        ):
            _check_listed(names, getattr(experiment, section), f"{source}: ablations.{key}", section)
        _pick(ablations.methods, methods, "ablations.methods", source, "methods.yaml")
    _check_listed(
        experiment.data.decontamination.benchmarks or (),
        experiment.benchmarks,
        f"{source}: data.decontamination.benchmarks",
        "benchmarks",
    )
    picked = _pick(experiment.backbones, backbones, "backbones", source, "backbones.yaml")
    picked |= _pick([experiment.data.tokenizer], backbones, "data.tokenizer", source, "backbones.yaml")
    _check_architectures(experiment, picked, source)
    catalogue = Catalogue(
        experiment=experiment,
        methods=methods,
        backbones=picked | _further(experiment, backbones, source),
        benchmarks=_pick(experiment.benchmarks, benchmarks, "benchmarks", source, "benchmarks.yaml"),
    )
    _check_paths(catalogue, source)
    from egpo.checks import check  # which imports this module

    check(catalogue, source)
    return catalogue


def write_schemas(folder: Path) -> None:
    """JSON schemas of the configuration files, for editors that complete and check YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in {
        "experiment": Experiment,
        "method": Method,
        "backbone": Backbone,
        "benchmark": Benchmark,
    }.items():
        schema = model.model_json_schema()
        if name != "experiment":  # a catalogue file maps names to entries
            schema = {
                "type": "object",
                "additionalProperties": {"$ref": f"#/$defs/{model.__name__}"},
                "$defs": {**schema.pop("$defs", {}), model.__name__: schema},
            }
        (folder / f"{name}.schema.json").write_text(json.dumps(schema, indent=2) + "\n")


if __name__ == "__main__":
    write_schemas(ROOT / "config" / "schemas")
