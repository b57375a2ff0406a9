"""Checks of training and evaluation, as they are for each backbone."""

from __future__ import annotations

from collections.abc import Iterator

from egpo.cli.checks.overrides import overrides
from egpo.config.experiment import Catalogue, Experiment
from egpo.training.trackers import remedy


def _each(experiment: Experiment, source: str) -> Iterator[tuple[Experiment, str]]:
    """The experiment as it is without and with each overlay of a backbone, and where its keys are."""
    yield experiment, f"{source}: "
    for name in experiment.by_backbone:
        yield experiment.of(name), f"{source}: by_backbone.{name}: "


def trainings(catalogue: Catalogue, source: str) -> Iterator[str]:
    """Batches, GPUs and checkpoints that contradict each other, and verl's settings."""
    experiment = catalogue.experiment
    backbone = catalogue.backbones[experiment.backbones[0]]
    for mine, where in _each(experiment, source):
        training = mine.training
        gpus = training.nodes * training.gpus_per_node
        responses = training.train_batch_size * training.rollouts_per_prompt
        if training.platform == "cuda" and responses % gpus:
            yield (
                f"{where}training.train_batch_size: {training.train_batch_size} x rollouts_per_prompt "
                f"{training.rollouts_per_prompt} responses cannot be split evenly over {gpus} GPUs: take a multiple."
            )
        if training.platform == "cpu" and gpus > 1:
            yield f"{where}training.gpus_per_node: {gpus} GPUs, but platform: cpu. Set platform: cuda, or 1 GPU."
        steps = mine.total_steps
        if training.save_freq > steps:
            yield (
                f"{where}training.save_freq: {training.save_freq} is more than the {steps} steps of a training, so "
                f"a failure would lose all of it: give at most {steps}."
            )
        if training.milestones >= steps:
            yield (
                f"{where}training.milestones: {training.milestones} models cannot be kept on the way of {steps} steps: "
                f"give at most {steps - 1}."
            )
        if training.overrides:
            yield from overrides(training, backbone, where)


def evaluations(experiment: Experiment, source: str) -> Iterator[str]:
    """Keys that contradict the platform, and seeds without a temperature."""
    for mine, where in _each(experiment, source):
        evaluation = mine.evaluation
        if evaluation.platform == "cuda" and evaluation.kv_cache_gib is not None:
            yield (
                f"{where}evaluation.kv_cache_gib: is for platform: cpu; on GPUs vLLM takes what is free. Take it out."
            )
        if evaluation.platform == "cpu" and evaluation.gpus > 1:
            yield f"{where}evaluation.gpus: {evaluation.gpus} GPUs, but platform: cpu. Set platform: cuda, or 1 GPU."
        if evaluation.gpus % evaluation.tensor_parallel_size:
            yield (
                f"{where}evaluation.tensor_parallel_size: {evaluation.tensor_parallel_size} does not divide "
                f"evaluation.gpus, which is {evaluation.gpus}. Make gpus a multiple of it."
            )
        seeds = max(len(evaluation.seeds), len(evaluation.of_milestones.seeds))
        if evaluation.temperature == 0 and (seeds > 1 or mine.uncertainty is not None):
            yield (
                f"{where}evaluation.temperature: 0 gives the same answer for every seed: raise it, or give one seed "
                "and no `uncertainty`."
            )


def trackers(experiment: Experiment, source: str) -> Iterator[str]:
    """Trackers whose package is not installed."""
    for name in experiment.trackers:
        if (way := remedy(name)) is not None:
            yield f"{source}: trackers: the package of '{name}' is not installed. {way}, or take '{name}' out."
