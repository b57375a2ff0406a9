"""Jobs that ended without a result, and why, from their logs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from egpo.cli.wildcards import SEED, existing, one_of
from egpo.common.paths import BASE, Paths
from egpo.common.stages import STAGES
from egpo.config.experiment import Catalogue
from egpo.runtime.lease import STALE_SECONDS, describe, holder
from egpo.runtime.root_cause import root_cause, slurm_line

SLURM_LOGS = Path(".snakemake/slurm_logs")  # of Snakemake's plug-in
SLURM_SLACK = 120  # seconds that a job may go on writing after Slurm has ended it
TAIL = 2**20  # bytes of a log that are read, from its end


@dataclass(frozen=True)
class Logged:
    """A job that has left a log. output: exists once the job is done."""

    rule: str
    wildcards: tuple[str, ...]
    log: Path
    output: Path


@dataclass(frozen=True)
class Ended:
    """A job that ended without its output, and the line that says why."""

    name: str
    log: Path
    output: Path
    line: str


def tail(path: Path) -> str:
    """The end of a text file; empty without one."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return file.read().decode(errors="replace")
    return ""


def written(path: Path) -> float:
    """When the file was last written, in seconds; 0 without one."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def worker(work: Path) -> str | None:
    """Who works in a folder; None if there is nobody, or nobody who has shown life of late."""
    entry = holder(work)
    return describe(entry) if entry and entry["age_s"] < STALE_SECONDS else None


# --- logs --------------------------------------------------------------------------------------------


def stage_logs(paths: Paths, catalogue: Catalogue) -> Iterator[Logged]:
    """Of the stages in the registry."""
    values = {
        "backbone": one_of(catalogue.backbones),
        "method": one_of([BASE, *catalogue.methods]),
        "benchmark": one_of(catalogue.benchmarks),
        "seed": SEED,
    }
    for rule in STAGES:
        for log, wildcards in existing(paths.log(rule), values):
            yield Logged(rule, tuple(wildcards.values()), log, paths.output(rule, **wildcards))


def logged_jobs(paths: Paths) -> Iterator[Logged]:
    """Of tables, figures and the report, by the names of their logs and files."""
    for log in sorted((paths.root / "logs" / "report").glob("*.log")):
        name = log.stem
        made = [paths.report] if name == "report" else sorted(paths.tables.glob(f"{name}*"))
        made += sorted(paths.figures.glob(f"{name.removesuffix('_figures')}*"))
        yield Logged(name, (), log, made[0] if made else paths.tables / name)


# --- causes ------------------------------------------------------------------------------------------


def _by_slurm(job: Logged) -> str | None:
    """What Slurm said of the last attempt, if the log of the job is of this attempt and not of a later, local one."""
    logs = list((SLURM_LOGS / f"rule_{job.rule}" / "_".join(job.wildcards)).glob("*.log"))
    newest = max(logs, key=written, default=None)
    if newest is None or written(newest) < written(job.log) - SLURM_SLACK:
        return None
    return slurm_line(tail(newest))


def ended_jobs(paths: Paths, catalogue: Catalogue) -> list[Ended]:
    """Every job with a log that tells of an error, without its output, and not running again."""
    ended = []
    for job in sorted([*stage_logs(paths, catalogue), *logged_jobs(paths)], key=lambda job: job.log):
        if job.output.exists() or worker(job.output.parent / "work"):
            continue
        if line := _by_slurm(job) or root_cause(tail(job.log)):
            ended.append(Ended(" ".join([job.rule, *job.wildcards]), job.log, job.output, line))
    return ended
