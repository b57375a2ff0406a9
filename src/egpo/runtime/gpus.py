"""Reserving GPUs on a machine without a scheduler: each job locks as many as it asks for."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from egpo.common.errors import UserError

POLL_SECONDS = 1.0
DEVICES = "CUDA_VISIBLE_DEVICES"


def visible() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    Raises:
        UserError: no NVIDIA driver answers.
    """
    if DEVICES in os.environ:
        return [name for name in os.environ[DEVICES].split(",") if name]
    try:
        text = subprocess.check_output(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"nvidia-smi: {error}. This job needs a GPU: run it where there is one, or set `platform: cpu`."
        ) from None
    return text.split()


def _lock(device: str, folder: Path) -> IO[str] | None:
    """The locked file of a GPU, None if another job holds it. The kernel unlocks it when its holder ends."""
    file = (folder / f"egpo-gpu-{device}.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


@contextmanager
def reserve_gpus(number: int, report: Callable[[str], None], folder: Path | None = None) -> Iterator[None]:
    """Reserve GPUs of this machine while the block runs, and name them in CUDA_VISIBLE_DEVICES.

    Waits while other jobs of this workflow hold too many. Under Slurm, which assigns GPUs itself, does nothing.

    Args:
        number: GPUs that the job needs; 0 reserves none.
        report: called once with a line if the job has to wait.
        folder: where the lock files are; the system's temporary folder by default.

    Raises:
        UserError: the machine has fewer GPUs.
    """
    if number == 0 or "SLURM_JOB_ID" in os.environ:
        yield
        return
    folder = folder or Path(tempfile.gettempdir())
    devices = visible()
    if len(devices) < number:
        raise UserError(f"this job needs {number} GPUs and finds {len(devices)} ({', '.join(devices) or 'none'}).")
    reported = False
    while True:
        with ExitStack() as stack:
            reserved: list[str] = []
            for device in devices:
                if len(reserved) < number and (file := _lock(device, folder)):
                    stack.enter_context(file)
                    reserved.append(device)
            if len(reserved) == number:
                os.environ[DEVICES] = ",".join(reserved)
                yield
                return
        if not reported:
            report(f"{len(reserved)} of {number} GPUs are free: waiting")
            reported = True
        time.sleep(POLL_SECONDS)
