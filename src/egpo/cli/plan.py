"""What `all` would run now, and what it takes: `snakemake plan`.

Which jobs there are is Snakemake's own word, read from its dry run.
"""

from __future__ import annotations

import heapq
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from egpo.backbones.architecture import of_backbone
from egpo.cli import cost
from egpo.cli.status import total_steps
from egpo.common.errors import UserError
from egpo.common.paths import ROOT, Paths
from egpo.config.experiment import Catalogue
from egpo.config.files import read_yaml
from egpo.training.checkpoints import complete_steps
from egpo.training.memory import BF16, GIB, estimate
from egpo.training.settings import micro_batch_tokens

Model = tuple[str, str, int]  # backbone, method, training seed
TRAIN, EVALUATE, ROLL_OUT = "train_model", "evaluate_model", "roll_out"
STAGES = {TRAIN: "train", EVALUATE: "evaluate", ROLL_OUT: "rollouts"}
RESULTS = Path("results")
CORES = 10_000  # of the dry run: with fewer, jobs would be shown with fewer threads than they ask for
CLUSTERS = (8, 16, 32, 64)  # GPUs
MEASURED, ESTIMATE, LIMIT = "measured", "estimate", "limit"
BASES = {
    MEASURED: "the median seconds a step of earlier trainings of this backbone with this batch, these lengths and\n"
    "devices, or seconds an answer of its evaluations with this decoding, times those to come",
    ESTIMATE: cost.ASSUMPTIONS,
    LIMIT: "the job's run time, at most; nothing else is known",
}


@dataclass(frozen=True)
class Job:
    """One job as Snakemake plans it. limit: its run time in hours."""

    rule: str
    wildcards: dict[str, str]
    threads: int
    gpus: int
    limit: float

    @property
    def model(self) -> Model:
        """Of a training, an evaluation or rollouts."""
        return self.wildcards["backbone"], self.wildcards["method"], int(self.wildcards["seed"])

    @property
    def stage(self) -> str:
        if self.rule in STAGES:
            return f"{STAGES[self.rule]} {self.wildcards['backbone']}"
        kind = self.rule.partition("_")[0]
        return {"data": "data", "benchmark": "data", "backbone": "backbones"}.get(kind, "report")


@dataclass(frozen=True)
class Costed:
    """A job, the hours that it is expected to take, and where they come from."""

    job: Job
    hours: float
    basis: str


# --- what Snakemake says ---------------------------------------------------------------------------


def dry_run(config_files: list[str], given: dict[str, Any]) -> str:
    """Text of Snakemake's dry run of `all`. given: what `--config` said. Raises UserError where it fails."""
    command = [sys.executable, "-m", "snakemake", "all", "-n", "--cores", str(CORES), "--configfile", *config_files]
    if given:
        command += ["--config", *(f"{key}={json.dumps(value)}" for key, value in given.items())]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
    )
    if done.returncode:
        last = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise UserError(f"Snakemake cannot plan `all`; mend this first:\n{last}")
    return done.stdout


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in text.split(", ")) if text else {}


def read_jobs(text: str) -> list[Job]:
    """The jobs of a dry run but the targets, which do nothing.

    Raises RuntimeError for a text that is not as Snakemake 9.27 writes it.
    """
    if "Nothing to be done" in text:
        return []
    blocks = re.split(r"^(?:local)?rule (?=\w+:$)", text, flags=re.MULTILINE)[1:]
    total = re.search(r"^total +(\d+)$", text, flags=re.MULTILINE)
    if total is None or int(total[1]) != len(blocks):
        said = total[1] if total else "no number of"
        raise RuntimeError(f"the dry run names {said} jobs, and {len(blocks)} were read: has Snakemake's text changed?")
    jobs = []
    for block in blocks:
        fields = dict(re.findall(r"^    (\w+): (.*)$", block, flags=re.MULTILINE))
        needs = _pairs(fields["resources"])
        if "log" in fields:
            gpus = int(needs.get("gpu", 0)) * int(needs.get("nodes", 1))
            threads = int(fields.get("threads", 1))
            wildcards = _pairs(fields.get("wildcards", ""))
            jobs.append(Job(block.partition(":")[0], wildcards, threads, gpus, int(needs["runtime"]) / 60))
    return jobs


# --- what the jobs take ----------------------------------------------------------------------------


def answers_of(job: Job, catalogue: Catalogue, evaluated: dict[Model, list[str]]) -> int:
    """Responses that an evaluation or a model's rollouts must generate."""
    experiment = catalogue.experiment
    if job.rule == ROLL_OUT:
        return experiment.data.heldout_rows * experiment.uncertainty.rollouts_per_prompt
    items = sum(catalogue.benchmarks[name].num_questions for name in evaluated[job.model])
    return items * len(experiment.of(job.model[0]).evaluation.seeds)


def steps_done(folder: Path) -> int:
    """The step that a training which was cut off goes on from; one with a manifest is to be done anew."""
    if (folder / "manifest.json").exists():
        return 0
    return max(complete_steps(folder / "work" / "checkpoints"), default=0)


def _training(job: Job, catalogue: Catalogue) -> Costed:
    name, method = job.model[0], catalogue.methods[job.model[1]]
    backbone, training = catalogue.backbones[name], catalogue.experiment.of(name).training
    paths = Paths(catalogue.experiment.experiment)
    steps = total_steps(training, catalogue.experiment.data, paths.data / "train.parquet")
    steps -= steps_done(paths.training(*job.model))
    seconds = cost.measured_step(RESULTS, name, cost.wanted(training, method, backbone))
    if seconds is not None:
        return Costed(job, steps * seconds / 3600, MEASURED)
    size = of_backbone(backbone)
    if size is None or training.platform == "cpu":
        return Costed(job, job.limit, LIMIT)
    return Costed(job, steps * cost.step_seconds(size, backbone, training, method) / 3600, ESTIMATE)


def costed(job: Job, catalogue: Catalogue, evaluated: dict[Model, list[str]]) -> Costed:
    """The hours of a job: measured, estimated, or, where neither can be, its limit."""
    if job.rule == TRAIN:
        return _training(job, catalogue)
    if job.rule in STAGES:
        backbone = catalogue.backbones[job.model[0]]
        evaluation = catalogue.experiment.of(job.model[0]).evaluation
        answers, size = answers_of(job, catalogue, evaluated), of_backbone(backbone)
        seconds = cost.measured_answer(RESULTS, job.model[0], cost.wanted_answers(backbone, evaluation))
        if seconds is not None:
            return Costed(job, answers * seconds / 3600, MEASURED)
        if size is not None and evaluation.platform == "cuda":
            return Costed(job, cost.answer_seconds(size, backbone, evaluation, answers) / 3600, ESTIMATE)
    return Costed(job, job.limit, LIMIT)


def wall_clock(jobs: Iterable[Costed], capacity: float, unit: str = "gpus") -> float | None:
    """Hours until all long jobs are done, by list scheduling: what is ready and fits starts, trainings first.

    unit: what a job takes of `capacity`, "gpus" or "threads". None if a job wants more GPUs than there are.
    """
    waiting = sorted(jobs, key=lambda one: (one.job.rule != TRAIN, -one.hours))
    takes = {id(one): min(getattr(one.job, unit), capacity if unit == "threads" else float("inf")) for one in waiting}
    if any(units > capacity for units in takes.values()):
        return None
    untrained = {one.job.model for one in waiting if one.job.rule == TRAIN}
    running: list[tuple[float, int, Costed]] = []
    now, free = 0.0, capacity
    while waiting or running:
        for one in list(waiting):
            if takes[id(one)] <= free and (one.job.rule == TRAIN or one.job.model not in untrained):
                free -= takes[id(one)]
                waiting.remove(one)
                heapq.heappush(running, (now + one.hours, id(one), one))
        now, _, ended = heapq.heappop(running)
        free += takes[id(ended)]
        if ended.job.rule == TRAIN:
            untrained.discard(ended.job.model)
    return now


def disk_gib(jobs: list[Job], catalogue: Catalogue, evaluated: dict[Model, list[str]]) -> dict[str, float]:
    """GiB that the jobs will write, by what they are; the checkpoints that lie there already are taken off."""
    paths = Paths(catalogue.experiment.experiment)
    sizes = {name: of_backbone(backbone) for name, backbone in catalogue.backbones.items()}
    trainings = {job.model: sizes[job.model[0]] for job in jobs if job.rule == TRAIN}
    fetched = [sizes[job.wildcards["backbone"]] for job in jobs if job.rule == "backbone_fetch"]
    data = any(job.rule == "data_source" for job in jobs)
    return {
        "trainings (two checkpoints and the model of each; at its end one)": sum(
            max(0.0, cost.training_gib(size) - cost.lying_gib(paths.training(*model)))
            for model, size in trainings.items()
        ),
        "a checkpoint under way": max(map(cost.checkpoint_gib, filter(None, trainings.values())), default=0.0),
        "backbones": sum(BF16 * size.parameters / GIB for size in fetched if size),
        "answers": sum(
            cost.answers_gib(catalogue.backbones[job.model[0]], answers_of(job, catalogue, evaluated))
            for job in jobs
            if job.rule in (EVALUATE, ROLL_OUT)
        ),
        "data": cost.SOURCE_GIB[catalogue.experiment.data.source.kind] if data else 0.0,
    }


# --- what will not fit -----------------------------------------------------------------------------


def too_long(jobs: list[Costed], catalogue: Catalogue, retries: int) -> list[str]:
    """Stages with a job that is expected to take longer than it may. retries: of the profile `slurm`."""
    known = [one for one in jobs if one.basis != LIMIT]
    found = []
    for stage in dict.fromkeys(one.job.stage for one in known):
        one = max((one for one in known if one.job.stage == stage), key=lambda one: one.hours)
        needs = catalogue.experiment.of(one.job.model[0]).jobs
        train, attempts = one.job.rule == TRAIN, 1 + retries  # each goes on from what was done
        may = (needs.train if train else needs.evaluate).minutes / 60
        if one.hours > attempts * may:
            keys = (
                "jobs.train.minutes or training.gpus_per_node" if train else "jobs.evaluate.minutes or evaluation.gpus"
            )
            span = f"{attempts} x {_hours(may)} h allowed (by the retries of slurm/config.yaml)"
            found.append(f"{stage}: {_hours(one.hours)} h ({one.basis}), but {span}: raise {keys}")
    return found


def too_large(jobs: list[Job], catalogue: Catalogue) -> list[str]:
    """What the estimate of memory says against the trainings' GPUs."""
    found = []
    for name in dict.fromkeys(job.model[0] for job in jobs if job.rule == TRAIN):
        backbone, training = catalogue.backbones[name], catalogue.experiment.of(name).training
        size = of_backbone(backbone)
        if size is not None and training.platform == "cuda":
            memory = estimate(size, backbone, training, micro_batch_tokens(backbone))
            found += [f"train {name}: {line}" for line in memory.warnings()]
    return found


# --- the page --------------------------------------------------------------------------------------


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def _row(stage: str, jobs: list[Costed]) -> list[str]:
    on_gpus = any(one.job.gpus for one in jobs)
    units = [one.job.gpus if on_gpus else one.job.threads for one in jobs]
    hours = [one.hours for one in jobs]
    total = sum(unit * hour for unit, hour in zip(units, hours, strict=True))
    basis = ", ".join(dict.fromkeys(one.basis for one in jobs))
    name = "GPU" if on_gpus else "core"
    each = list(dict.fromkeys(f"{least}" for least in (min(units), max(units))))
    spans = list(dict.fromkeys(map(_hours, (min(hours), max(hours)))))
    return [stage, str(len(jobs)), f"{'-'.join(each)} {name}", "-".join(spans), f"{_hours(total)} {name}-h", basis]


def _stages(jobs: list[Costed]) -> str:
    order = ["data", "backbones", *STAGES.values(), "report"]
    names = sorted({one.job.stage for one in jobs}, key=lambda stage: (order.index(stage.split()[0]), stage))
    rows = [_row(stage, [one for one in jobs if one.job.stage == stage]) for stage in names]
    for name, some in (
        ("all on GPUs", [one for one in jobs if one.job.gpus]),
        ("all others", [one for one in jobs if not one.job.gpus]),
    ):
        if some:
            _, count, _, _, total, _ = _row(name, some)
            rows.append([name, count, "", "", total, ""])
    headers = ["Stage", "Jobs", "Each", "Hours each", "Total", "Basis"]
    align = ["left", "right", "right", "right", "right", "left"]
    return tabulate(rows, headers, tablefmt="plain", colalign=align, disable_numparse=True)


def _wall_clocks(costs: list[Costed]) -> str:
    long = [one for one in costs if one.job.rule in STAGES]
    on_gpus = any(one.job.gpus for one in long)
    unit, name = ("gpus", "GPUs") if on_gpus else ("threads", "cores")
    most = ", at most" if any(one.basis == LIMIT for one in long) else ""
    lines = [f"Wall-clock of trainings, then their evaluations and rollouts, in hours{most}:"]
    for capacity in (float("inf"), *(CLUSTERS if on_gpus else [os.cpu_count() or 1])):
        hours = wall_clock(long, capacity, unit)
        where = "all at once" if capacity == float("inf") else f"with {capacity} {name}"
        lines.append(f"  {_hours(hours) if hours is not None else 'never':>9}  {where}")
    limits = {one.job.rule: one.job.limit for one in costs if one.job.rule not in STAGES}
    return "\n".join([*lines, f"  {_hours(sum(limits.values())):>9}  more at most, for data, backbones and report"])


def _disk(needed: dict[str, float], free: float) -> str:
    parts = [f"  {gib:>9,.1f}  {name}" for name, gib in needed.items() if gib >= 0.05]
    return "\n".join([f"Disk: {sum(needed.values()):,.1f} GiB to be written, {free:,.1f} free:", *parts])


def _fits(costs: list[Costed], catalogue: Catalogue, needed: float, free: float) -> str:
    retries = read_yaml(ROOT / "slurm" / "config.yaml").get("retries", 0)
    against = too_large([one.job for one in costs], catalogue) + too_long(costs, catalogue, retries)
    if needed > free:
        remedy = "make room, or make `results` a link to another disk"
        against.append(f"disk: {needed:,.0f} GiB needed, {free:,.0f} free: {remedy}")
    if not against:
        return "All fits, by these numbers."
    return "\n".join(["Will not fit:", *(f"  {line}" for line in against)])


def plan(
    catalogue: Catalogue, evaluated: dict[Model, list[str]], config_files: list[str], given: dict[str, Any]
) -> str:
    """Jobs, hours, disk and what will not fit, as text for a terminal.

    evaluated: each model's benchmarks; config_files, given: the configuration, as files and as `--config`. Raises
    UserError where Snakemake cannot plan.
    """
    root = Paths(catalogue.experiment.experiment).root
    jobs = read_jobs(dry_run(config_files, given))
    if not jobs:
        return f"{root}: nothing to do, `all` is finished."
    costs = [costed(job, catalogue, evaluated) for job in jobs]
    used = {one.basis for one in costs}
    needed = disk_gib(jobs, catalogue, evaluated)
    free = shutil.disk_usage(RESULTS if RESULTS.exists() else Path.cwd()).free / GIB
    parts = [
        f"{root}: {len(jobs)} jobs to run",
        _stages(costs),
        "\n".join(f"{basis}: {meaning}" for basis, meaning in BASES.items() if basis in used),
        _wall_clocks(costs),
        _disk(needed, free),
        _fits(costs, catalogue, sum(needed.values()), free),
    ]
    return "\n\n".join(parts)
