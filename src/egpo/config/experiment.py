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
from egpo.config.section import Name, Section, Seed
from egpo.config.training import Training


class Overlay(Section):
    """Keys that one backbone has otherwise than the experiment."""

    training: dict[str, Any] = Field({})
    evaluation: dict[str, Any] = Field({})
    jobs: dict[str, Any] = Field({})


class Ablations(Section):
    """Table 2: variants of one method on one backbone."""

    backbone: Name
    reference: Name = Field("egpo", description="The method that they change; it must be one of `methods`.")
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
        return Experiment.model_validate(merged(self.model_dump(), over))


class Catalogue(Section):
    """An experiment, every method there is, and the backbones and benchmarks that it names."""

    experiment: Experiment
    methods: dict[Name, Method]
    backbones: dict[Name, Backbone]
    benchmarks: dict[Name, Benchmark]
