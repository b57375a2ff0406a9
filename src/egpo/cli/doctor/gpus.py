"""The doctor on GPUs: what the driver lists, and what torch sees of it."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass

from egpo.cli.doctor.finding import Finding, answer, failed, ok, warning
from egpo.cli.doctor.needs import Need


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
    """An empty list without a driver."""
    well, text = answer(*NVIDIA_SMI) if shutil.which(NVIDIA_SMI[0]) else (False, "")
    return parse_gpus(text) if well else []


def assess_gpus(found: list[Gpu], needs: list[Need], gpu_gib: float) -> Finding:
    """gpu_gib: training.gpu_gib, which the estimates of memory use."""
    most = max(needs, key=lambda need: need.gpus)
    key = most.gpus_key
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


# In another process: it would leave a CUDA context in this one.
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
    return assess_torch(well, text)


def assess_torch(well: bool, text: str) -> list[Finding]:
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
