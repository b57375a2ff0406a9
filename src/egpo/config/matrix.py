"""Which models an experiment trains, evaluates and diagnoses. Rules and commands take it from here.

A model is (backbone, method, training seed). The untrained backbone is the method `base` with seed 0.
"""

from __future__ import annotations

from collections.abc import Iterator

from egpo.common.paths import BASE, BASE_SEED, Milestone, Model
from egpo.config.experiment import Experiment


def table1_models(experiment: Experiment) -> list[Model]:
    """Each backbone untrained and with each method, and the extra models, in the order of the rows of Table 1."""
    models: list[Model] = []
    for backbone in experiment.backbones:
        models.append((backbone, BASE, BASE_SEED))
        models += [(backbone, method, seed) for method in experiment.methods for seed in experiment.training_seeds]
    return models + [(name, BASE, BASE_SEED) for name in experiment.extra_models]


def table2_models(experiment: Experiment) -> list[Model]:
    """Base, main method and ablations on the backbone of the ablations; none without the section `ablations`."""
    ablations = experiment.ablations
    if ablations is None:
        return []
    methods = (experiment.main_method, *ablations.methods)
    trained = [(ablations.backbone, method, seed) for method in methods for seed in experiment.training_seeds]
    return [(ablations.backbone, BASE, BASE_SEED), *trained]


def evaluated_models(experiment: Experiment) -> list[Model]:
    """The models of both tables."""
    return list(dict.fromkeys([*table1_models(experiment), *table2_models(experiment)]))


def trained_models(experiment: Experiment) -> list[Model]:
    """The models of both tables that are trained."""
    return [model for model in evaluated_models(experiment) if model[1] != BASE]


def diagnosed_models(experiment: Experiment) -> list[Model]:
    """The models whose entropies are analysed: those of Table 1, or none without the section `uncertainty`."""
    return [] if experiment.uncertainty is None else table1_models(experiment)


def backbones_of(experiment: Experiment, method: str) -> tuple[str, ...]:
    """The backbones that a method is trained on: for a method outside Table 1, the backbone of the ablations."""
    if method in experiment.methods or experiment.ablations is None:
        return experiment.backbones
    return (experiment.ablations.backbone,)


def benchmarks_of(experiment: Experiment, method: str) -> tuple[str, ...]:
    """The benchmarks that a method is evaluated on: for a method outside Table 1, those of the ablations."""
    if method == BASE or method in experiment.methods or experiment.ablations is None:
        return experiment.benchmarks
    return experiment.ablations.benchmarks


def milestone_steps(experiment: Experiment) -> tuple[int, ...]:
    """The steps after which each training keeps a model, evenly spread between its start and its end."""
    count, steps = experiment.training.milestones, experiment.total_steps
    return tuple(round(steps * number / (count + 1)) for number in range(1, count + 1))


def milestone_benchmarks(experiment: Experiment, method: str) -> tuple[str, ...]:
    """The benchmarks that the milestones of a method are evaluated on: chosen ones, of those of the method."""
    chosen = experiment.evaluation.milestones.benchmarks
    return tuple(name for name in benchmarks_of(experiment, method) if chosen is None or name in chosen)


def milestones_of(experiment: Experiment, model: Model) -> list[Milestone]:
    """The milestones of a training that are evaluated."""
    asked = model[1] != BASE and milestone_benchmarks(experiment, model[1])
    return [(*model, step) for step in milestone_steps(experiment)] if asked else []


def evaluated_milestones(experiment: Experiment) -> list[Milestone]:
    """The milestones of the trainings of both tables."""
    return [milestone for model in trained_models(experiment) for milestone in milestones_of(experiment, model)]


def every_benchmark(experiment: Experiment) -> tuple[str, ...]:
    """All that are read anywhere: by evaluations, and by the decontamination."""
    ablated = experiment.ablations.benchmarks if experiment.ablations else ()
    return tuple(dict.fromkeys([*experiment.benchmarks, *ablated, *decontamination_benchmarks(experiment)]))


def possible_trainings(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """(backbone, method) of every training that has a target: methods of the tables, and those under `define`."""
    ablations = experiment.ablations.methods if experiment.ablations else ()
    for method in dict.fromkeys([*experiment.methods, *ablations, *experiment.define.methods]):
        for backbone in backbones_of(experiment, method):
            yield backbone, method


def decontamination_benchmarks(experiment: Experiment) -> tuple[str, ...]:
    """The benchmarks whose questions must not be in the training data."""
    chosen = experiment.data.decontamination.benchmarks
    return experiment.benchmarks if chosen is None else chosen
