"""The hours of each job, and the wall-clock of all of them on a number of GPUs or cores."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from egpo.backbones.architecture import of_backbone
from egpo.cli.plan import cost, earlier
from egpo.cli.plan.dry_run import Job
from egpo.cli.status.progress import total_steps
from egpo.common.paths import Paths
from egpo.config.experiment import Catalogue
from egpo.config.matrix import benchmarks_of, milestone_benchmarks
from egpo.training.checkpoints import complete_steps

MEASURED, ESTIMATE, LIMIT = "measured", "estimate", "limit"
BASES = {
    MEASURED: "the median seconds per step of earlier trainings of this backbone with this batch, these lengths and\n"
    "devices, or per answer of its evaluations with this decoding, times those to come; else the median of earlier\n"
    "jobs of the same rule, for the same backbone or source data",
    ESTIMATE: cost.ASSUMPTIONS,
    LIMIT: "the job's run time, at most; nothing else is known",
}


@dataclass(frozen=True)
class Costed:
    """A job, the hours that it is expected to take, and where they come from."""

    job: Job
    hours: float
    basis: str


def answers_of(job: Job, catalogue: Catalogue) -> int:
    """Responses that an evaluation or a model's rollouts must generate."""
    experiment = catalogue.experiment
    if job.unit == "shards" and experiment.uncertainty is not None:
        return experiment.data.heldout_rows * experiment.uncertainty.rollouts_per_prompt
    backbone, method, _ = job.model
    evaluation, names = experiment.of(backbone).evaluation, benchmarks_of(experiment, method)
    if job.is_milestone:
        evaluation, names = evaluation.of_milestones, milestone_benchmarks(experiment, method)
    return sum(catalogue.benchmarks[name].num_questions for name in names) * len(evaluation.seeds)


def steps_done(folder: Path) -> int:
    """The step from which an interrupted training resumes; 0 for one with a manifest, which starts again."""
    if (folder / "manifest.json").exists():
        return 0
    return max(complete_steps(folder / "work" / "checkpoints"), default=0)


def _training(job: Job, catalogue: Catalogue) -> Costed | None:
    name, method = job.model[0], catalogue.methods[job.model[1]]
    backbone, training = catalogue.backbones[name], catalogue.experiment.of(name).training
    paths = Paths(catalogue.experiment.experiment)
    steps = total_steps(training, catalogue.experiment.data, paths.output("data_pool", "train"))
    steps -= steps_done(paths.training(*job.model))
    seconds = earlier.step_seconds(name, earlier.step_settings(training, method, backbone))
    if seconds is not None:
        return Costed(job, steps * seconds / 3600, MEASURED)
    size = of_backbone(backbone)
    if size is None or training.platform == "cpu":
        return None
    return Costed(job, steps * cost.step_seconds(size, backbone, training, method) / 3600, ESTIMATE)


def _answering(job: Job, catalogue: Catalogue) -> Costed | None:
    """Of an evaluation or of rollouts."""
    name = job.model[0]
    backbone, evaluation = catalogue.backbones[name], catalogue.experiment.of(name).evaluation
    answers, size = answers_of(job, catalogue), of_backbone(backbone)
    seconds = earlier.answer_seconds(name, earlier.answer_settings(backbone, evaluation))
    if seconds is not None:
        return Costed(job, answers * seconds / 3600, MEASURED)
    if size is None or evaluation.platform == "cpu":
        return None
    return Costed(job, cost.answer_seconds(size, backbone, evaluation, answers) / 3600, ESTIMATE)


def costed(job: Job, catalogue: Catalogue) -> Costed:
    """The hours of a job: measured, estimated, or, where neither is possible, its limit."""
    found = None
    if job.unit is not None:
        found = _training(job, catalogue) if job.is_training else _answering(job, catalogue)
    if found is None and (seconds := earlier.job_seconds(job, catalogue.experiment.data)) is not None:
        found = Costed(job, seconds / 3600, MEASURED)
    return found or Costed(job, job.limit, LIMIT)


def as_run(jobs: Iterable[Costed]) -> list[Costed]:
    """The jobs with an evaluation's hours as it takes them: it makes the rollouts of its model too."""
    jobs = list(jobs)
    evaluated = {one.job.model for one in jobs if _of_a_final_model(one.job)}
    moved = {one.job.model: one for one in jobs if one.job.unit == "shards" and one.job.model in evaluated}
    return [
        _with_rollouts(one, moved.get(one.job.model)) if _of_a_final_model(one.job) else one
        for one in jobs
        if one not in moved.values()
    ]


def _of_a_final_model(job: Job) -> bool:
    """Whether it is an evaluation that can make rollouts too."""
    return job.unit == "answers" and not job.is_milestone


def _with_rollouts(evaluation: Costed, rollouts: Costed | None) -> Costed:
    if rollouts is None:
        return evaluation
    basis = LIMIT if LIMIT in (evaluation.basis, rollouts.basis) else evaluation.basis
    return Costed(evaluation.job, evaluation.hours + rollouts.hours, basis)


def wall_clock(jobs: Iterable[Costed], capacity: float, unit: str = "gpus") -> float | None:
    """Hours until all long jobs are done, by list scheduling: what is ready and fits starts, trainings first.

    Args:
        jobs: trainings, evaluations and rollouts.
        capacity: GPUs or cores.
        unit: what a job takes of the capacity, "gpus" or "threads".

    Returns:
        None if a job asks for more GPUs than there are.
    """
    waiting = sorted(jobs, key=lambda one: (not one.job.is_training, -one.hours))
    takes = {id(one): min(getattr(one.job, unit), capacity if unit == "threads" else float("inf")) for one in waiting}
    if any(units > capacity for units in takes.values()):
        return None
    untrained = {one.job.model for one in waiting if one.job.is_training}
    running: list[tuple[float, int, Costed]] = []
    now, free = 0.0, capacity
    while waiting or running:
        for one in list(waiting):
            if takes[id(one)] <= free and (one.job.is_training or one.job.model not in untrained):
                free -= takes[id(one)]
                waiting.remove(one)
                heapq.heappush(running, (now + one.hours, id(one), one))
        now, _, ended = heapq.heappop(running)
        free += takes[id(ended)]
        if ended.job.is_training:
            untrained.discard(ended.job.model)
    return now
