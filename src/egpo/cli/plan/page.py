"""What `all` would run now, and what that takes: the page of `egpo plan`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from tabulate import tabulate

from egpo.cli.plan.dry_run import dry_run
from egpo.cli.plan.fit import disk_gib, hours_text, row_name, too_large, too_long
from egpo.cli.plan.hours import BASES, LIMIT, Costed, as_run, costed, wall_clock
from egpo.common.paths import ROOT, Paths
from egpo.common.stages import STAGES
from egpo.config.experiment import Catalogue
from egpo.config.files import read_yaml
from egpo.training.memory import GIB

RESULTS = Path("results")
CLUSTERS = (8, 16, 32, 64)  # GPUs
GROUPS = [*dict.fromkeys(stage.group for stage in STAGES.values() if stage.group != "report"), "report"]


def _row(name: str, jobs: list[Costed]) -> list[str]:
    on_gpus = any(one.job.gpus for one in jobs)
    units = [one.job.gpus if on_gpus else one.job.threads for one in jobs]
    hours = [one.hours for one in jobs]
    total = sum(unit * hour for unit, hour in zip(units, hours, strict=True))
    basis = ", ".join(dict.fromkeys(one.basis for one in jobs))
    unit = "GPU" if on_gpus else "core"
    each = dict.fromkeys(map(str, (min(units), max(units))))
    spans = dict.fromkeys(map(hours_text, (min(hours), max(hours))))
    return [name, str(len(jobs)), f"{'-'.join(each)} {unit}", "-".join(spans), f"{hours_text(total)} {unit}-h", basis]


def _stages(jobs: list[Costed]) -> str:
    names = sorted({row_name(one.job) for one in jobs}, key=lambda name: (GROUPS.index(name.split()[0]), name))
    rows = [_row(name, [one for one in jobs if row_name(one.job) == name]) for name in names]
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


def _at_most(jobs: list[Costed]) -> str:
    return ", at most" if any(one.basis == LIMIT for one in jobs) else ""


def _wall_clocks(jobs: list[Costed]) -> str:
    long = [one for one in jobs if one.job.unit]
    short = [one for one in jobs if not one.job.unit]
    on_gpus = any(one.job.gpus for one in long)
    unit, name = ("gpus", "GPUs") if on_gpus else ("threads", "cores")
    lines = [f"Wall-clock of trainings, then their evaluations and rollouts, in hours{_at_most(long)}:"]
    for capacity in (float("inf"), *(CLUSTERS if on_gpus else [os.cpu_count() or 1])):
        hours = wall_clock(long, capacity, unit)
        where = "all at once" if capacity == float("inf") else f"with {capacity} {name}"
        lines.append(f"  {hours_text(hours) if hours is not None else 'never':>9}  {where}")
    longest: dict[str, float] = {}
    for one in short:
        longest[one.job.rule] = max(one.hours, longest.get(one.job.rule, 0.0))
    more = hours_text(sum(longest.values()))
    return "\n".join([*lines, f"  {more:>9}  more for data, backbones and report{_at_most(short)}"])


def _disk(needed: dict[str, float], free: float) -> str:
    parts = [f"  {gib:>9,.1f}  {name}" for name, gib in needed.items() if gib >= 0.05]
    return "\n".join([f"Disk: {sum(needed.values()):,.1f} GiB to be written, {free:,.1f} free:", *parts])


def _fits(jobs: list[Costed], catalogue: Catalogue, needed: float, free: float) -> str:
    retries = read_yaml(ROOT / "slurm" / "config.yaml").get("retries", 0)
    against = too_large([one.job for one in jobs], catalogue) + too_long(jobs, catalogue, retries)
    if needed > free:
        remedy = "make room, or make `results` a link to another disk"
        against.append(f"disk: {needed:,.0f} GiB needed, {free:,.0f} free: {remedy}")
    if not against:
        return "All fits, by these numbers."
    return "\n".join(["Will not fit:", *(f"  {line}" for line in against)])


def plan(catalogue: Catalogue, files: list[str], given: dict[str, Any]) -> str:
    """Jobs, hours, disk and what will not fit, as text for a terminal.

    Args:
        catalogue: the experiment.
        files: its configuration files, for Snakemake.
        given: keys laid over them.

    Raises:
        UserError: Snakemake refuses the workflow.
    """
    root = Paths(catalogue.experiment.experiment).root
    found = dry_run(files, given)
    if not found:
        return f"{root}: nothing to do, `all` is finished."
    jobs = [costed(job, catalogue) for job in found]
    bases = {one.basis for one in jobs}
    needed = disk_gib(found, catalogue)
    free = shutil.disk_usage(RESULTS if RESULTS.exists() else Path.cwd()).free / GIB
    run = as_run(jobs)
    parts = [
        f"{root}: {len(jobs)} jobs to run",
        _stages(jobs),
        "\n".join(f"{basis}: {meaning}" for basis, meaning in BASES.items() if basis in bases),
        _wall_clocks(run),
        _disk(needed, free),
        _fits(run, catalogue, sum(needed.values()), free),
    ]
    return "\n\n".join(parts)
