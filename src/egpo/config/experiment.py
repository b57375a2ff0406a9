"""A whole experiment, and the catalogue of everything that it names."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from egpo.config.backbones import Backbone
from egpo.config.benchmarks import Benchmark
from egpo.config.data import Data
from egpo.config.evaluation import Evaluation, EvaluationOverlay, Uncertainty
from egpo.config.files import merged
from egpo.config.jobs import Jobs, JobsOverlay
from egpo.config.methods import Method
from egpo.config.section import Label, Name, Section, Seed
from egpo.config.training import Training, TrainingOverlay

Scorer = Literal["evalscope", "verifier"]
Tracker = Literal["tensorboard", "trackio", "wandb", "mlflow", "swanlab"]


class Overlay(Section):
    """What one backbone may have different: its machine, never what a table compares."""

    training: TrainingOverlay = TrainingOverlay()
    evaluation: EvaluationOverlay = EvaluationOverlay()
    jobs: JobsOverlay = JobsOverlay()


class Ablations(Section):
    """Table 2: variants of the experiment's `main_method` on one backbone."""

    backbone: Name
    methods: tuple[Name, ...]
    benchmarks: tuple[Name, ...]


class Definitions(Section):
    """Entries for this experiment only; each adds to a catalogue, or replaces an entry there."""

    methods: dict[Name, Method] = Field({})
    backbones: dict[Name, Backbone] = Field({})
    benchmarks: dict[Name, Benchmark] = Field({})


class Compared(Section):
    """Two methods that a study compares on the same training seeds."""

    first: Name
    second: Name
    expected: Literal["above", "below", "different"] = Field(
        "above", description="What would count for the paper's claim: the first above the second, below it, or either."
    )


class ExtraModel(Section):
    """A model that is evaluated next to the experiment's models, and not trained."""

    model: str = Field(description="A folder in Hugging Face format, or owner/name on the Hub.")
    like: Name = Field(description="The backbone whose context and numbers of tokens it gets.")
    label: Label | None = Field(None, description="Name in tables; default: the name of the entry.")


class Experiment(Section):
    """A whole experiment: everything between the source data and the tables."""

    experiment: Name = Field(description="Results are written to results/<experiment>/.")
    note: str = Field("", description="Printed under every table and figure: how to read these results.")
    backbones: tuple[Name, ...] = Field(min_length=1)
    methods: tuple[Name, ...] = Field(min_length=1)
    main_method: Name = Field(
        description="The method that the experiment is about: claims, ablations and the case study compare it with the "
        "others. One of `methods`."
    )
    training_seeds: tuple[Seed, ...] = Field(min_length=1)
    benchmarks: tuple[Name, ...] = Field(min_length=1)
    scored_by: Scorer = Field(
        "evalscope",
        description="Whose verdicts Tables 1 and 2, comparisons and claims are made from: evalscope's (the paper's), "
        "or those of the training's verifier. Both are in the records, so nothing is evaluated again.",
    )
    extra_models: dict[Name, ExtraModel] = Field({}, description="Further models for Table 1, each under a new name.")
    ablations: Ablations | None = None
    uncertainty: Uncertainty | None = Field(
        None, description="Table 3 and Figures 3 to 9, which are only made with this section."
    )
    data: Data
    training: Training
    evaluation: Evaluation
    jobs: Jobs = Jobs()
    trackers: tuple[Tracker, ...] = Field(
        (),
        description="Where to watch trainings, beside their metrics.jsonl. A change trains nothing again. "
        "No network is used unless the tracker's own environment variables ask for it.",
    )
    by_backbone: dict[Name, Overlay] = Field(
        {}, description="GPUs, nodes, time and memory of one backbone, laid over training, evaluation and jobs."
    )
    define: Definitions = Definitions()
    study: dict[str, tuple[Compared, ...]] | None = Field(
        None,
        description="What `egpo study` and its plan compare, by family; p-values are corrected within a family.",
    )
    claims: str | None = Field(
        None, description="A plan that `egpo freeze` wrote before the run; the page of claims compares it with the run."
    )

    @property
    def total_steps(self) -> int:
        """Optimiser steps of a training, as verl counts them, where the data have all rows of the quotas."""
        training, rows = self.training, self.data.quotas.total - self.data.validation_rows
        return training.total_training_steps or rows // training.train_batch_size * (training.total_epochs or 0)

    def of(self, backbone: str) -> Experiment:
        """The experiment as it is for one backbone."""
        if backbone not in self.by_backbone:
            return self
        over = self.by_backbone[backbone].model_dump(exclude_none=True)
        return Experiment.model_validate(merged(self.model_dump(), over))


class Catalogue(Section):
    """An experiment, every method there is, and the backbones and benchmarks that it names."""

    experiment: Experiment
    methods: dict[Name, Method]
    backbones: dict[Name, Backbone]
    benchmarks: dict[Name, Benchmark]
