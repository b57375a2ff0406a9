"""The doctor on this machine: packages, compiler, cores, memory, folders, GPUs."""

from __future__ import annotations

import os
import runpy
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from sysconfig import get_paths

import psutil

from egpo.backbones.architecture import of_backbone
from egpo.cli.doctor.finding import Finding, answer, failed, ok, warning
from egpo.common.paths import ROOT
from egpo.config.experiment import Catalogue
from egpo.training.limits import START_MINUTES

GIB = 2**30


@dataclass(frozen=True)
class Need:
    """The most that a job of a rule asks for on one node; `key`: the part of the configuration that says so."""

    rule: str
    key: str
    minutes: int
    cpus: int
    memory_gib: int
    gpus: int


def needs_of(catalogue: Catalogue) -> list[Need]:
    """Of the long jobs, over all backbones."""
    experiment = catalogue.experiment
    found = []
    for name in catalogue.backbones:
        mine = experiment.of(name)
        evaluation, training = mine.evaluation, mine.training
        found.append(("evaluate_model", mine.jobs.evaluate, 0, evaluation.gpus * (evaluation.platform == "cuda")))
        if name in experiment.backbones:
            more = mine.jobs.train.grace_minutes + START_MINUTES
            found.append(("train_model", mine.jobs.train, more, training.gpus_per_node * (training.platform == "cuda")))
    found.append(("data_pool", experiment.jobs.data, 0, 0))
    keys = {"train_model": "jobs.train", "evaluate_model": "jobs.evaluate", "data_pool": "jobs.data"}
    return [
        Need(
            rule=rule,
            key=key,
            minutes=max(job.minutes + more for name, job, more, _ in found if name == rule),
            cpus=max(job.cpus for name, job, _, _ in found if name == rule),
            memory_gib=max(job.memory_gib for name, job, _, _ in found if name == rule),
            gpus=max(gpus for name, _, _, gpus in found if name == rule),
        )
        for rule, key in keys.items()
    ]


def needs_cuda(catalogue: Catalogue) -> bool:
    return any(need.gpus for need in needs_of(catalogue))


# --- software --------------------------------------------------------------------------------------


def packages(cuda: bool) -> Finding:
    """Python and packages against the list that envs/install.py makes an environment from."""
    install = runpy.run_path(str(ROOT / "envs" / "install.py"))
    file = f"envs/{'gpu' if cuda else 'cpu'}.txt"
    have = install["installed"](Path(sys.executable)) or {}
    linked = install["read_linked"](Path(sys.prefix))
    rows = install["differences"](have, install["expected"](ROOT / file, linked))
    return judge_packages(sys.version_info[:2], install["PYTHONS"], rows, file)


def judge_packages(version: tuple[int, int], wanted: Sequence[tuple[int, int]], rows: list[str], file: str) -> Finding:
    """rows: those of install.differences. What is installed beside the list (flash-attn) does no harm."""
    make = "Run `make env`"
    if file == "envs/gpu.txt":
        make = f"Run `python3.11 envs/install.py --list {file} --venv .venv-gpu` and use .venv-gpu/bin/snakemake"
    if version not in wanted:
        known = " or ".join(f"{major}.{minor}" for major, minor in wanted)
        return failed("packages", f"Python {version[0]}.{version[1]}, not {known}", make)
    wrong = [row for row in rows if not row.endswith("is not in the list")]
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return failed("packages", f"not as pinned in {file}: {'; '.join(wrong[:3])}{more}", make)
    return ok("packages", f"Python {version[0]}.{version[1]}, all as pinned in {file}")


def compiler(cuda: bool) -> Finding:
    """A C compiler that works: torch and, on GPUs, triton call it while they run; triton wants Python's headers too."""
    names = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "cc", "clang"]
    found = next((place for name in names if (place := shutil.which(name))), None)
    if found is None:
        return failed("C compiler", f"no {' or '.join(names)}", "Install one (Debian: apt-get install gcc), or set CC")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "try.c"
        source.write_text(("#include <Python.h>\n" if cuda else "") + "int main(void) { return 0; }\n")
        well, said = answer(found, "-c", f"-I{get_paths()['include']}", str(source), "-o", f"{source}.o")
    if not well:
        remedy = "Install the C library's and Python's headers (Debian: libc6-dev, python3.11-dev)"
        return failed("C compiler", f"{found} cannot compile: {said}", remedy)
    return ok("C compiler", found)


# --- cores, memory, folders ------------------------------------------------------------------------


def memory_gib() -> float:
    """Memory of this machine, or of the container that this runs in."""
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    total = psutil.virtual_memory().total
    return min(total, int(text) if text.isdigit() else total) / GIB


def capacity(needs: list[Need]) -> list[Finding]:
    return judge_capacity(len(os.sched_getaffinity(0)), memory_gib(), needs)


def judge_capacity(cores: int, gib: float, needs: list[Need]) -> list[Finding]:
    """One line on cores, one on memory."""
    most = max(needs, key=lambda need: need.cpus)
    text, remedy = f"{cores}; {most.rule} asks for {most.cpus}", f"It gets fewer and takes longer; see {most.key}.cpus"
    findings = [ok("cores", text) if cores >= most.cpus else warning("cores", text, remedy)]
    most = max(needs, key=lambda need: need.memory_gib)
    text = f"{gib:.1f} GiB; {most.rule} asks for {most.memory_gib}"
    remedy = f"Use a larger machine, or, if you know that it needs less, lower {most.key}.memory_gib"
    # What the kernel and firmware keep is not in the total.
    return [*findings, ok("memory", text) if gib >= 0.95 * most.memory_gib else warning("memory", text, remedy)]


def shared_memory(cuda: bool) -> Finding:
    """Ray keeps its objects there, verl the weights on their way to vLLM, NCCL its buffers."""
    free = shutil.disk_usage("/dev/shm").free / GIB if Path("/dev/shm").is_dir() else 0.0
    return judge_shared_memory(free, 8.0 if cuda else 1.0)  # by judgement; a container has 64 MiB by default


def judge_shared_memory(free: float, wanted: float) -> Finding:
    found = f"{free:.1f} GiB free, {wanted:.0f} or more are needed"
    remedy = "In a container: --shm-size=16g; else, as root: mount -o remount,size=16g /dev/shm"
    return ok("/dev/shm", found) if free >= wanted else failed("/dev/shm", found, remedy)


def temporary() -> Finding:
    """/tmp itself: Ray's sockets need a short path, whatever TMPDIR says."""
    free = shutil.disk_usage("/tmp").free / GIB
    if not os.access("/tmp", os.W_OK | os.X_OK):
        return failed("/tmp", "cannot be written", "Ray's sockets lie there: ask for a /tmp of your own")
    return (
        ok("/tmp", f"{free:.1f} GiB free") if free >= 2 else warning("/tmp", f"{free:.1f} GiB free", "Make some room")
    )


def least_disk(catalogue: Catalogue) -> float:
    """GiB that the largest training must find: three checkpoints (two are kept while the next is written), each of
    16 bytes a parameter (weights, two moments of Adam, the model to export), or 5 GiB."""
    found = [of_backbone(catalogue.backbones[name]) for name in catalogue.experiment.backbones]
    return max([5.0, *(3 * 16 * size.parameters / GIB for size in found if size is not None)])


def results(folder: Path, wanted: float) -> Finding:
    """A file is really written, linked (leases need that) and dated in the folder of the results."""
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
    return judge_results(shutil.disk_usage(folder).free / GIB, wanted, ahead)


def judge_results(free: float, wanted: float, ahead: float) -> Finding:
    """free, wanted: GiB. ahead: seconds by which the file system's clock is ahead of this machine's."""
    found = f"{free:.0f} GiB free; the largest training alone needs {wanted:.0f}"
    if free < wanted:
        return failed("results/", found, "Make room, or make `results` a link to another disk; see `snakemake plan`")
    if abs(ahead) > 5:
        found += f"; its clock is {ahead:+.0f} s from this machine's"
        return warning("results/", found, "Have both clocks set by NTP: Snakemake compares the times of files")
    return ok("results/", found)


# --- GPUs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gpu:
    """As nvidia-smi lists it; gib: its whole memory."""

    name: str
    gib: float
    driver: str


NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")


def parse_gpus(text: str) -> list[Gpu]:
    """From the lines of NVIDIA_SMI: name, MiB, driver."""
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.count(",") == 2]
    return [Gpu(name, int(mib) / 1024, driver) for name, mib, driver in rows if mib.isdigit()]


def read_gpus() -> list[Gpu]:
    """None without a driver."""
    well, text = answer(*NVIDIA_SMI) if shutil.which(NVIDIA_SMI[0]) else (False, "")
    return parse_gpus(text) if well else []


def judge_gpus(found: list[Gpu], needs: list[Need], gpu_gib: float) -> Finding:
    """gpu_gib: training.gpu_gib, which the estimates of memory count with."""
    most = max(needs, key=lambda need: need.gpus)
    key = "training.gpus_per_node" if most.rule == "train_model" else "evaluation.gpus"
    if not found:
        remedy = "Install NVIDIA's driver, or run on a machine that has one; without GPUs: `platform: cpu`"
        return failed("GPUs", f"none ({NVIDIA_SMI[0]} is missing or lists none)", remedy)
    least = min(found, key=lambda gpu: gpu.gib)
    text = f"{len(found)} x {least.name} of {least.gib:.0f} GiB, driver {least.driver}"
    if len(found) < most.gpus:
        return failed(
            "GPUs", f"{text}; {key} asks for {most.gpus}", f"Set {key} to {len(found)}, or use another machine"
        )
    # A card's memory is sold in round numbers: 80 GB is 79.6 GiB.
    if least.gib < 0.95 * gpu_gib:
        remedy = f"Set it to {least.gib:.0f}: `snakemake verl_settings` then says what fits"
        return warning("GPUs", f"{text}; training.gpu_gib is {gpu_gib:.0f}", remedy)
    return ok("GPUs", text)


# Run in a process of its own: it would leave a CUDA context in this one.
TORCH = """
import sys
import torch
from egpo.verl_plugin.attention import available
print(torch.version.cuda or "none", torch.cuda.device_count())
for name in sys.argv[1:]:
    if not available(name):
        print("missing", name)
"""


def torch_sees_gpus(attentions: set[str]) -> list[Finding]:
    """attentions: every `training.attention` of the experiment."""
    well, text = answer(sys.executable, "-c", TORCH, *sorted(attentions), seconds=120)
    return judge_torch(well, text)


def judge_torch(well: bool, text: str) -> list[Finding]:
    """text: what TORCH printed, or its last error."""
    remedy = "Use the environment of envs/gpu.txt, and a driver that is new enough for its CUDA"
    if not well:
        return [failed("torch", text, remedy)]
    lines = [line.split() for line in text.splitlines()]
    missing = [line[1] for line in lines if line[0] == "missing"]
    cuda, count = lines[-1 - len(missing)]
    seen = f"built for CUDA {cuda}, sees {count} GPUs"
    findings = [ok("torch", seen) if int(count) else failed("torch", seen, remedy)]
    advice = "Set training.attention to packed, which needs no package (docs/paper-scale.md), or install the package"
    return findings + [failed("attention", f"transformers finds no package for {name}", advice) for name in missing]
