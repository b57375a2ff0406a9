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
from egpo.report.entries import entries_of
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
    """Who works in a folder; None if there is nobody, or only a holder that no longer responds."""
    entry = holder(work)
    return describe(entry) if entry and entry["age_s"] < STALE_SECONDS else None


# --- logs --------------------------------------------------------------------------------------------


def stage_logs(paths: Paths, catalogue: Catalogue) -> Iterator[Logged]:
    """The jobs of the stages in the registry."""
    values = {
        "backbone": one_of(catalogue.backbones),
        "method": one_of([BASE, *catalogue.methods]),
        "seed": SEED,
        "step": SEED,
        "benchmark": one_of(catalogue.benchmarks),
    }
    for rule in STAGES:
        for log, wildcards in existing(paths.log(rule), values):
            yield Logged(rule, tuple(wildcards.values()), log, paths.output(rule, **wildcards))


def entry_logs(paths: Paths, catalogue: Catalogue) -> Iterator[Logged]:
    """The jobs of tables, figures and the report."""
    for entry in entries_of(catalogue):
        if (log := entry.log(paths)).exists():
            yield Logged(entry.name, (), log, entry.files(catalogue, paths)[0])


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
    for job in sorted([*stage_logs(paths, catalogue), *entry_logs(paths, catalogue)], key=lambda job: job.log):
        if job.output.exists() or worker(job.output.parent / "work"):
            continue
        if line := _by_slurm(job) or root_cause(tail(job.log)):
            ended.append(Ended(" ".join([job.rule, *job.wildcards]), job.log, job.output, line))
    return ended
