"""What the long jobs of an experiment ask for on one node."""

from __future__ import annotations

from dataclasses import dataclass, replace

from egpo.common.stages import STAGES
from egpo.config.experiment import Catalogue
from egpo.training.limits import START_MINUTES


@dataclass(frozen=True)
class Need:
    """The most that a job of a rule asks for on one node.

    Attributes:
        key: the part of the configuration that says so.
        gpus_key: the same for its GPUs.
    """

    rule: str
    key: str
    minutes: int
    cpus: int
    memory_gib: int
    gpus: int = 0
    gpus_key: str = ""


def _need(rule: str, catalogue: Catalogue, backbone: str) -> Need:
    """What a job asks for, for one backbone."""
    experiment, kind = catalogue.experiment.of(backbone), STAGES[rule].needs
    needs = getattr(experiment.jobs, str(kind))
    need = Need(rule, f"jobs.{kind}", needs.minutes, needs.cpus, needs.memory_gib)
    if kind == "train":
        gpus = experiment.training.gpus_per_node if experiment.training.platform == "cuda" else 0
        minutes = needs.minutes + needs.grace_minutes + START_MINUTES
        return replace(need, minutes=minutes, gpus=gpus, gpus_key="training.gpus_per_node")
    if kind == "evaluate":
        gpus = experiment.evaluation.gpus if experiment.evaluation.platform == "cuda" else 0
        return replace(need, gpus=gpus, gpus_key="evaluation.gpus")
    return need


def needs_of(catalogue: Catalogue) -> list[Need]:
    """Of every stage with a key of `jobs`, the most over all backbones."""
    experiment = catalogue.experiment
    found = []
    for rule, stage in STAGES.items():
        if stage.needs is None or (rule == "roll_out" and experiment.uncertainty is None):
            continue
        if rule == "evaluate_milestone" and not experiment.training.milestones:
            continue
        # Only the experiment's backbones are trained; the others are evaluated alone, or lend their tokenizer.
        names = experiment.backbones if stage.needs == "train" else catalogue.backbones
        each = [_need(rule, catalogue, name) for name in names]
        most = {key: max(getattr(need, key) for need in each) for key in ("minutes", "cpus", "memory_gib", "gpus")}
        found.append(replace(each[0], **most))
    return found


def needs_cuda(catalogue: Catalogue) -> bool:
    return any(need.gpus for need in needs_of(catalogue))
