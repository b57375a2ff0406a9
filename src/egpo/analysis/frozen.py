"""A plan that is frozen before an experiment is run, and what was done otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from egpo.analysis.comparisons import ABLATIONS, pairs
from egpo.analysis.statistics import LEVEL
from egpo.common.errors import UserError
from egpo.common.provenance import PACKAGE, code_version
from egpo.config.experiment import Catalogue
from egpo.config.frozen import Frozen, Planned
from egpo.config.methods import Method

TEST = (
    "paired difference of accuracy over the same questions, training seeds as the outer unit (egpo.analysis.statistics."
    "paired), two-sided, corrected by Holm within a family"
)
STUDY_TEST = (
    "difference of sampled accuracy over all questions of the benchmarks together, trainings paired by seed, seeds and "
    "questions crossed (egpo.analysis.statistics.paired_by_seed), two-sided, corrected by Holm within a family"
)
UNFROZEN = {
    "experiment",
    "note",
    "jobs",
    "by_backbone",
    "define",
    "claims",
    "extra_models",
    "training_seeds",
    "trackers",
}
MACHINE = {
    "training": {
        "platform",
        "nodes",
        "gpus_per_node",
        "gpu_gib",
        "gpu_memory_utilization",
        "save_freq",
        "sample_groups",
        "milestones",
    },
    "evaluation": {"platform", "gpus", "tensor_parallel_size", "max_num_seqs", "kv_cache_gib", "milestones"},
}


def settings_of(catalogue: Catalogue) -> dict[str, Any]:
    """What results depend on, but for the machine: the experiment's sections, its methods, backbones and benchmarks."""
    experiment = catalogue.experiment
    values = experiment.model_dump(mode="json", exclude=UNFROZEN)
    for section, keys in MACHINE.items():
        values[section] = {key: value for key, value in values[section].items() if key not in keys}
    values["of_methods"] = {name: one.model_dump(mode="json") for name, one in _methods(catalogue).items()}
    for kind in ("backbones", "benchmarks"):
        entries = getattr(catalogue, kind)
        values[f"of_{kind}"] = {name: entries[name].model_dump(mode="json") for name in getattr(experiment, kind)}
    return values


def code_of_weights(catalogue: Catalogue) -> dict[str, str]:
    """What the file of each custom function of weights does, as a hash: comments do not count, as in what runs again.

    Raises:
        UserError: a file cannot be read.
    """
    files = {name: one.calibration.custom[0] for name, one in _methods(catalogue).items() if one.calibration.custom}
    try:
        return {name: code_version(os.path.relpath(file, PACKAGE)) for name, file in files.items()}
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"calibration.weight: a file cannot be read ({error}): give a Python file.") from error


def _methods(catalogue: Catalogue) -> dict[str, Method]:
    """Those of the tables."""
    experiment = catalogue.experiment
    named = [*experiment.methods, *(experiment.ablations.methods if experiment.ablations else ())]
    return {name: catalogue.methods[name] for name in named}


def freeze(catalogue: Catalogue, date: str) -> Frozen:
    """The plan of an experiment: every comparison of its tables, on all its benchmarks; of a study, its own."""
    experiment = catalogue.experiment
    planned = _of_study(catalogue) if experiment.study else _of_tables(catalogue)
    plan = Frozen(
        frozen=date,
        hash="",
        test=STUDY_TEST if experiment.study else TEST,
        level=LEVEL,
        comparisons=planned,
        training_seeds=experiment.training_seeds,
        trials=len(experiment.evaluation.seeds),
        settings=settings_of(catalogue),
        code_of_weights=code_of_weights(catalogue),
    )
    return plan.model_copy(update={"hash": plan.content_hash()})


def _of_study(catalogue: Catalogue) -> tuple[Planned, ...]:
    experiment = catalogue.experiment
    return tuple(
        Planned(backbone=backbone, benchmarks=experiment.benchmarks, family=family, **one.model_dump())
        for backbone in experiment.backbones
        for family, compared in (experiment.study or {}).items()
        for one in compared
    )


def _of_tables(catalogue: Catalogue) -> tuple[Planned, ...]:
    experiment = catalogue.experiment
    return tuple(
        Planned(
            backbone=backbone,
            first=first,
            second=second,
            benchmarks=tuple(benchmarks),
            expected="below" if family == ABLATIONS else "above" if first == experiment.main_method else "different",
        )
        for family, backbone, first, second, benchmarks in pairs(catalogue)
    )


def _changed(planned: Any, now: Any, key: str = "") -> Iterator[str]:
    """The keys whose values differ, with both values."""
    if isinstance(planned, dict) and isinstance(now, dict):
        for name in sorted({*planned, *now}):
            yield from _changed(planned.get(name), now.get(name), f"{key}.{name}" if key else str(name))
    elif planned != now:
        yield f"{key}: {planned} was planned, {now} was run"


def deviations(plan: Frozen, catalogue: Catalogue) -> list[str]:
    """What was done otherwise than planned; empty where nothing was."""
    found = []
    if plan.hash != plan.content_hash():
        found.append("the plan was edited after it was frozen: its hash is not that of its content")
    seeds = catalogue.experiment.training_seeds
    if set(seeds) != set(plan.training_seeds):
        found.append(f"training_seeds: {len(plan.training_seeds)} were planned, {len(seeds)} were run: {list(seeds)}")
    now = freeze(catalogue, plan.frozen)
    kept = {(one.backbone, one.first, one.second) for one in now.comparisons}
    before = {(one.backbone, one.first, one.second) for one in plan.comparisons}
    found += [f"not run: {first} against {second} on {backbone}" for backbone, first, second in sorted(before - kept)]
    found += [
        f"not planned, and so exploratory: {first} against {second} on {backbone}"
        for backbone, first, second in sorted(kept - before)
    ]
    found += _changed({"test": plan.test, "level": plan.level}, {"test": now.test, "level": now.level})
    if plan.code_of_weights is not None:
        found += _changed(plan.code_of_weights, now.code_of_weights, "code_of_weights")
    return [*found, *_changed(plan.settings, now.settings)]
