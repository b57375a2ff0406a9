"""The doctor on this machine: cores, memory, folders."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import psutil

from egpo.backbones.architecture import of_backbone
from egpo.cli.doctor.finding import Finding, failed, ok, warning
from egpo.cli.doctor.needs import Need
from egpo.config.experiment import Catalogue
from egpo.runtime.short_folder import short_folder

GIB = 2**30


def memory_gib() -> float:
    """Memory of this machine, or of the container that this runs in."""
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    total = psutil.virtual_memory().total
    return min(total, int(text) if text.isdigit() else total) / GIB


def capacity(needs: list[Need]) -> list[Finding]:
    return assess_capacity(len(os.sched_getaffinity(0)), memory_gib(), needs)


def assess_capacity(cores: int, gib: float, needs: list[Need]) -> list[Finding]:
    """One line on cores, one on memory."""
    most = max(needs, key=lambda need: need.cpus)
    text, remedy = f"{cores}; {most.rule} asks for {most.cpus}", f"It gets fewer and takes longer; see {most.key}.cpus"
    findings = [ok("cores", text) if cores >= most.cpus else warning("cores", text, remedy)]
    most = max(needs, key=lambda need: need.memory_gib)
    text = f"{gib:.1f} GiB; {most.rule} asks for {most.memory_gib}"
    remedy = f"Use a larger machine, or, if you know that it needs less, lower {most.key}.memory_gib"
    # The total lacks what the kernel and the firmware reserve.
    return [*findings, ok("memory", text) if gib >= 0.95 * most.memory_gib else warning("memory", text, remedy)]


def shared_memory(cuda: bool) -> Finding:
    """Ray keeps its objects there, verl the weights on their way to vLLM, NCCL its buffers."""
    free = shutil.disk_usage("/dev/shm").free / GIB if Path("/dev/shm").is_dir() else 0.0
    return assess_shared_memory(free, 8.0 if cuda else 1.0)  # by judgement; a container has 64 MiB by default


def assess_shared_memory(free: float, wanted: float) -> Finding:
    found = f"{free:.1f} GiB free, {wanted:.0f} or more are needed"
    remedy = "In a container: --shm-size=16g; else, as root: mount -o remount,size=16g /dev/shm"
    return ok("/dev/shm", found) if free >= wanted else failed("/dev/shm", found, remedy)


def temporary() -> Finding:
    """Where the sockets of Ray and vLLM are, and Ray's logs."""
    folder = short_folder()
    free = shutil.disk_usage(folder).free / GIB
    if not os.access(folder, os.W_OK | os.X_OK):
        remedy = "Sockets lie there: ask for a /tmp that you can write, or set TMPDIR to a folder with a short path"
        return failed(folder, "cannot be written", remedy)
    found = f"{free:.1f} GiB free"
    return ok(folder, found) if free >= 2 else warning(folder, found, "Make room, or set TMPDIR to a short path")


def least_disk(catalogue: Catalogue) -> float:
    """GiB that the largest training needs: three checkpoints (two are kept while the next is written), each of 16 bytes
    per parameter (weights, two moments of Adam, the model to export); at least 5 GiB."""
    found = [of_backbone(catalogue.backbones[name]) for name in catalogue.experiment.backbones]
    return max([5.0, *(3 * 16 * size.parameters / GIB for size in found if size is not None)])


def results(folder: Path, wanted: float) -> Finding:
    """A file is written, linked (leases need that) and dated in the folder of the results."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as place:
            file = Path(place) / "file"
            file.write_text("written by the doctor")
            now = time.time()
            os.link(file, file.with_name("link"))
            ahead = file.stat().st_mtime - now
    except OSError as error:
        remedy = "Give it write access, or make `results` a link to a folder on a file system that has hard links"
        return failed("results/", f"{type(error).__name__}: {error}", remedy)
    return assess_results(shutil.disk_usage(folder).free / GIB, wanted, ahead)


def assess_results(free: float, wanted: float, ahead: float) -> Finding:
    """free, wanted: GiB. ahead: seconds by which the file system's clock is ahead of this machine's."""
    found = f"{free:.0f} GiB free; the largest training alone needs {wanted:.0f}"
    if free < wanted:
        return failed("results/", found, "Make room, or make `results` a link to another disk; see `egpo plan`")
    if abs(ahead) > 5:
        found += f"; its clock is {ahead:+.0f} s from this machine's"
        return warning("results/", found, "Have both clocks set by NTP: Snakemake compares the times of files")
    return ok("results/", found)
