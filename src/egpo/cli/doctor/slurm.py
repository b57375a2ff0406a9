"""The doctor on a Slurm cluster: partitions against what the rules ask for, accounting, the shared folder."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from egpo.cli.doctor.finding import Finding, answer, failed, ok, warning
from egpo.cli.doctor.needs import Need
from egpo.common.paths import ROOT
from egpo.config.files import read_yaml

PROFILE = ROOT / "slurm" / "config.yaml"
SEEN_SECONDS = 60.0  # for a file of a compute node to be seen here; half of latency-wait in the profile

# --- partitions ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Partition:
    """The largest of its nodes. minutes: MaxTime, None for no limit; mib: memory."""

    name: str
    default: bool
    up: bool
    minutes: float | None
    cpus: int
    mib: int
    gpus: int


FIELDS = ("%P", "%a", "%l", "%c", "%m", "%G")
SINFO = ("sinfo", "--noheader", f"--format={'|'.join(FIELDS)}")


def minutes_of(text: str) -> float | None:
    """Slurm's time: minutes, MM:SS, HH:MM:SS or D-HH:MM:SS. None for no limit."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if match is None:
        return None
    days, *parts = (int(part) if part is not None else None for part in match.groups())
    first, second, third = (part or 0 for part in parts)
    if days is not None or parts[2] is not None:
        return (days or 0) * 1440 + first * 60 + second + third / 60
    return first + second / 60


def parse_partitions(text: str) -> dict[str, Partition]:
    """From the lines of SINFO: one for each kind of nodes of a partition. A banner does not count."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) != len(FIELDS) or not all(re.fullmatch(r"\d+\+?", fields[at]) for at in (3, 4)):
            continue
        name, up, limit, cpus, mib, gres = fields
        default, name = name.endswith("*"), name.rstrip("*")
        gpus = sum(int(count) for count in re.findall(r"(?:^|,)gpu(?::[^:,()]+)?:(\d+)", gres))
        most_cpus, most_mib = int(cpus.rstrip("+")), int(mib.rstrip("+"))  # "128+" where nodes differ
        if before := found.get(name):
            most_cpus, most_mib = max(most_cpus, before.cpus), max(most_mib, before.mib)
            gpus = max(gpus, before.gpus)
        found[name] = Partition(name, default, up == "up", minutes_of(limit), most_cpus, most_mib, gpus)
    return found


def _settings(values: Any) -> dict[str, str]:
    """A profile's resources: a mapping, or a list of name=value."""
    if isinstance(values, dict):
        return {key: str(value).strip("\"'") for key, value in values.items()}
    return {key: value.strip("\"'") for key, _, value in (str(entry).partition("=") for entry in values or ())}


def partition_of(rule: str, profile: dict[str, Any]) -> str | None:
    """The partition that the profile gives a rule; None for Slurm's default."""
    of_rules = profile.get("set-resources") or {}
    of_rule = _settings(of_rules.get(rule)) if isinstance(of_rules, dict) else {}
    return of_rule.get("slurm_partition") or _settings(profile.get("default-resources")).get("slurm_partition")


def assess_rule(need: Need, name: str | None, partitions: dict[str, Partition]) -> Finding:
    """Whether a partition has, on one node, what a job of this rule asks for.

    Args:
        name: None for Slurm's default; several with commas between, of which Slurm takes the first that is free.
    """
    what, known = f"Slurm for {need.rule}", ", ".join(partitions)
    names = (
        [part.strip() for part in name.split(",")] if name else [one.name for one in partitions.values() if one.default]
    )
    unknown = [part for part in names if part not in partitions]
    if unknown or not names:
        text = f"there is no partition {', '.join(unknown)}" if unknown else "Slurm has no default partition"
        return failed(what, text, f"Set slurm_partition in slurm/config.yaml to one of: {known}")
    findings = [_assess(need, what, partitions[part], known) for part in names]
    return next((finding for finding in findings if finding.state == "ok"), findings[0])


def _assess(need: Need, what: str, found: Partition, known: str) -> Finding:
    if not found.up:
        return failed(what, f"the partition {found.name} is not up", f"Choose another one of: {known}; or wait")
    if found.minutes is not None and need.minutes > found.minutes:
        text = f"it asks for {need.minutes} minutes, {found.name} gives {found.minutes:.0f} at most"
        remedy = f"Lower {need.key}.minutes by {need.minutes - found.minutes:.0f} (a retry goes on where it stopped)"
        return failed(what, text, f"{remedy}, or choose another partition")
    asked = (
        ("CPUs", need.cpus, found.cpus),
        ("GiB", need.memory_gib, found.mib // 1024),
        ("GPUs", need.gpus, found.gpus),
    )
    short = [f"{there} {unit} of {wanted}" for unit, wanted, there in asked if wanted > there]
    if short:
        remedy = f"In slurm/config.yaml: set-resources: {need.rule}: {{slurm_partition: ...}}; or see {need.key}"
        return failed(what, f"no node of {found.name} has more than {', '.join(short)}", remedy)
    return ok(what, f"partition {found.name} has what it asks for")


# --- accounting, shared folder ---------------------------------------------------------------------


def accounting(profile: dict[str, Any]) -> Finding:
    """How the plug-in learns how a job ended: sacct, or squeue, which forgets jobs after MinJobAge."""
    from snakemake_executor_plugin_slurm.job_status_query import get_min_job_age

    command = ("sacct", "--noheader", "--allocations", "--starttime=now-1minutes", "--format=JobID")
    well, said = answer(*command) if shutil.which("sacct") else (False, "no sacct here")
    return assess_accounting(well, said.strip(), profile.get("slurm-status-command"), get_min_job_age())


def assess_accounting(works: bool, said: str, chosen: str | None, age: int | None) -> Finding:
    """age: Slurm's MinJobAge in seconds, None if it does not say."""
    what = "Slurm's accounting"
    if works and chosen != "squeue":
        return ok(what, "sacct answers")
    if chosen != "squeue":
        return failed(
            what, said, "Add `slurm-status-command: squeue` to slurm/config.yaml: jobs would never be seen to end"
        )
    if age is not None and age < 120:
        return warning(what, f"squeue forgets a job after {age} s", "Ask for MinJobAge=300 in slurm.conf")
    return ok(what, "squeue is asked instead of sacct")


def shared_folder(options: Iterable[str]) -> Finding:
    """A job of a few seconds looks for a file written here and writes one; each side must see the other's file."""
    what = "shared folder"
    if "SLURM_JOB_ID" in os.environ:
        return ok(what, "not tried: this is a Slurm job itself")
    well, idle = answer("sinfo", "--noheader", "--states=idle", "--format=%n")
    if not well or not idle.strip():
        return ok(what, "not tried: no node is idle")
    with tempfile.TemporaryDirectory(dir="results", prefix=".doctor-") as place:
        folder = Path(place).absolute()
        (folder / "here").touch()
        task = f"test -x {sys.executable} || exit 3; test -e {folder}/here && hostname > {folder}/there"
        command = ("srun", *options, "--immediate=30", "--ntasks=1", "--time=1", "sh", "-c", task)
        well, said = answer(*command, seconds=90)
        if "immediate" in said.lower() or "does not answer" in said:
            return ok(what, f"not tried: {said}")
        end = time.monotonic() + SEEN_SECONDS
        while well and not (seen := folder / "there").exists() and time.monotonic() < end:
            time.sleep(1)
        node = seen.read_text().strip() if well and seen.exists() else None
    return assess_shared(well, said.strip(), node)


def assess_shared(well: bool, said: str, node: str | None) -> Finding:
    """node: which compute node wrote the file that was seen here, if one did."""
    what = "shared folder"
    remedy = "Work in a folder that this machine and the compute nodes share, with the environment in it"
    if not well:
        return failed(what, f"a compute node does not see {Path.cwd()} or {sys.executable} ({said})", remedy)
    if node is None:
        return failed(what, f"a file that a node writes is not seen here within {SEEN_SECONDS:.0f} s", remedy)
    where = " (the same machine)" if node == socket.gethostname() else ""
    return ok(what, f"written by {node}{where}, seen here")


# --- all -------------------------------------------------------------------------------------------


def cluster(needs: list[Need], wanted: bool) -> list[Finding]:
    """wanted: the experiment will run with the profile slurm."""
    if not wanted:
        return [ok("Slurm", "not checked: without --slurm everything runs on this machine")]
    if not shutil.which("sinfo"):
        return [failed("Slurm", "no sinfo here", "Run this on a login node of the cluster, or without --slurm")]
    if find_spec("snakemake_executor_plugin_slurm") is None:
        return [failed("Slurm", "snakemake-executor-plugin-slurm is not installed", "Run `make env`")]
    well, said = answer(*SINFO)
    if not well:
        return [failed("Slurm", said, "Ask those who run the cluster: slurmctld does not answer")]
    profile, partitions = read_yaml(PROFILE), parse_partitions(said)
    findings = [ok("Slurm", f"partitions {', '.join(partitions)}")]
    findings += [assess_rule(need, partition_of(need.rule, profile), partitions) for need in needs]
    account, partition = _settings(profile.get("default-resources")).get("slurm_account"), partition_of("", profile)
    options = [f"--{key}={value}" for key, value in (("account", account), ("partition", partition)) if value]
    return [*findings, accounting(profile), shared_folder(options)]
