"""What the jobs need of disk, memory and time limits, and what will not fit."""

from __future__ import annotations

from collections.abc import Iterable

from egpo.backbones.architecture import of_backbone
from egpo.cli.plan import cost
from egpo.cli.plan.dry_run import Job
from egpo.cli.plan.hours import LIMIT, Costed, answers_of
from egpo.common.paths import Model, Paths, milestone_folder
from egpo.config.experiment import Catalogue
from egpo.config.matrix import milestone_steps
from egpo.training.fit import fit
from egpo.training.memory import BF16, GIB

GPUS = {"train": "training.gpus_per_node", "evaluate": "evaluation.gpus"}  # the key beside `jobs.<needs>`


def hours_text(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def row_name(job: Job) -> str:
    """Under which a job is summed up: its group, and of a long job its backbone."""
    if job.stage is None:
        return "report"
    return f"{job.stage.group} {job.wildcards['backbone']}" if job.unit else job.stage.group


def _kept(model: Model, paths: Paths) -> float:
    """GiB of the milestones that a training has kept already."""
    return cost.present_gib(milestone_folder(paths.training(*model), 0).parent)


def disk_gib(jobs: Iterable[Job], catalogue: Catalogue) -> dict[str, float]:
    """GiB that the jobs will write, by what they are; without the checkpoints that are there already."""
    jobs, paths = list(jobs), Paths(catalogue.experiment.experiment)
    sizes = {name: of_backbone(backbone) for name, backbone in catalogue.backbones.items()}
    trainings = {job.model: sizes[job.model[0]] for job in jobs if job.is_training}
    fetched = [sizes[job.wildcards["backbone"]] for job in jobs if job.rule == "backbone_fetch"]
    return {
        "trainings (two checkpoints and the model of each; at its end one)": sum(
            max(0.0, cost.training_gib(size) - cost.present_gib(paths.training(*model)) + _kept(model, paths))
            for model, size in trainings.items()
        ),
        "milestones of trainings": sum(
            max(0.0, len(milestone_steps(catalogue.experiment)) * cost.model_gib(size) - _kept(model, paths))
            for model, size in trainings.items()
        ),
        "a checkpoint under way": max(map(cost.checkpoint_gib, filter(None, trainings.values())), default=0.0),
        "backbones": sum(BF16 * size.parameters / GIB for size in fetched if size),
        "answers": sum(
            cost.answers_gib(catalogue.backbones[job.model[0]], answers_of(job, catalogue))
            for job in jobs
            if job.unit and not job.is_training
        ),
        "data": cost.SOURCE_GIB[catalogue.experiment.data.source.kind]
        if any(job.rule in ("data_source", "data_standin") for job in jobs)
        else 0.0,
    }


def too_long(jobs: Iterable[Costed], catalogue: Catalogue, retries: int) -> list[str]:
    """Long jobs that are expected to take longer than they may, one line per backbone.

    Args:
        jobs: with their hours.
        catalogue: of the experiment.
        retries: of the profile `slurm`; each attempt goes on from what was done.
    """
    known = [one for one in jobs if one.basis != LIMIT and one.job.unit]
    found = []
    for name in dict.fromkeys(row_name(one.job) for one in known):
        one = max((one for one in known if row_name(one.job) == name), key=lambda one: one.hours)
        assert one.job.stage is not None and one.job.stage.needs is not None
        needs = one.job.stage.needs
        limit = getattr(catalogue.experiment.of(one.job.model[0]).jobs, needs).minutes / 60
        if one.hours > (1 + retries) * limit:
            found.append(
                f"{name}: {hours_text(one.hours)} h ({one.basis}), but {1 + retries} x {hours_text(limit)} h allowed "
                f"(by the retries of slurm/config.yaml): raise jobs.{needs}.minutes or {GPUS[needs]}"
            )
    return found


def too_large(jobs: Iterable[Job], catalogue: Catalogue) -> list[str]:
    """Trainings whose estimate of memory is more than they have."""
    found = []
    for name in dict.fromkeys(job.model[0] for job in jobs if job.is_training):
        backbone, own = catalogue.backbones[name], catalogue.experiment.of(name)
        sizes = fit(of_backbone(backbone), backbone, own.training, own.jobs.train.memory_gib)
        found += [f"train {name}: {line}" for line in sizes.warnings]
    return found
