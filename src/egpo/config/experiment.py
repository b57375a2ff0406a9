"""A whole experiment, and the catalogue of everything that it names."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from egpo.config.backbones import Backbone
from egpo.config.benchmarks import Benchmark
from egpo.config.data import Data
from egpo.config.evaluation import Evaluation, Uncertainty
from egpo.config.files import merged
from egpo.config.jobs import Jobs
from egpo.config.methods import Method
from egpo.config.section import Count, Name, Section, Seed
from egpo.config.training import Attention, Training


class TrainingOverlay(Section):
    """What trainings of one backbone may have otherwise: the machine, and what it needs. Keys as in `training`."""

    nodes: Count | None = None
    gpus_per_node: Count | None = None
    gpu_gib: float | None = Field(None, gt=0)
    gpu_memory_utilization: float | None = Field(None, gt=0, lt=1)
    attention: Attention | None = None
    save_freq: Count | None = None
    overrides: dict[str, Any] | None = None


class EvaluationOverlay(Section):
    """What evaluations of one backbone may have otherwise. Keys as in `evaluation`."""

    gpus: Count | None = None
    max_num_seqs: Count | None = None
    kv_cache_gib: float | None = Field(None, gt=0)


class NeedsOverlay(Section):
    """Keys as in `jobs.evaluate`."""

    minutes: Count | None = None
    cpus: Count | None = None
    memory_gib: Count | None = None


class TrainNeedsOverlay(NeedsOverlay):
    """Keys as in `jobs.train`."""

    grace_minutes: int | None = Field(None, ge=0)
    stall_minutes: float | None = Field(None, gt=0)


class JobsOverlay(Section):
    """What the jobs of one backbone may take."""

    train: TrainNeedsOverlay = TrainNeedsOverlay()
    evaluate: NeedsOverlay = NeedsOverlay()


class Overlay(Section):
    """What one backbone may have otherwise than the experiment: its machine, never what a table compares."""

    training: TrainingOverlay = TrainingOverlay()
    evaluation: EvaluationOverlay = EvaluationOverlay()
    jobs: JobsOverlay = JobsOverlay()


class Ablations(Section):
    """Table 2: variants of the experiment's `main_method` on one backbone."""

    backbone: Name
    methods: tuple[Name, ...]
    benchmarks: tuple[Name, ...]


class Definitions(Section):
    """Entries of this experiment alone; they add to the catalogues, or take the place of an entry there."""

    methods: dict[Name, Method] = Field({})
    backbones: dict[Name, Backbone] = Field({})
    benchmarks: dict[Name, Benchmark] = Field({})


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
    main_method: Name = Field(
        description="The method that the experiment is about: claims, ablations and the case study compare it with the "
        "others. One of `methods`."
    )
    training_seeds: tuple[Seed, ...] = Field(min_length=1)
    benchmarks: tuple[Name, ...] = Field(min_length=1)
    extra_models: dict[Name, FurtherModel] = Field({}, description="Other models for Table 1, by a name of their own.")
    ablations: Ablations | None = None
    uncertainty: Uncertainty | None = Field(None, description="Table 3 and Figures 3 to 9; not made if not given.")
    data: Data
    training: Training
    evaluation: Evaluation
    jobs: Jobs = Jobs()
    by_backbone: dict[Name, Overlay] = Field(
        {}, description="GPUs, nodes, hours and memory of one backbone, laid over training, evaluation and jobs."
    )
    define: Definitions = Definitions()

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
