"""Which GPUs a job may use on a machine without a scheduler: each job locks as many as it asked for."""

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
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them. Raises UserError without a driver."""
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
    """The locked file of a GPU, None if another job has it. The kernel unlocks it when its holder ends."""
    file = (folder / f"egpo-gpu-{device}.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


@contextmanager
def own(number: int, report: Callable[[str], None], folder: Path | None = None) -> Iterator[None]:
    """Have `number` GPUs of this machine for itself, by CUDA_VISIBLE_DEVICES; under Slurm, which sees to it, nothing.

    Waits for GPUs that other jobs of ours have. Raises UserError if the machine has fewer.
    """
    if number == 0 or "SLURM_JOB_ID" in os.environ:
        yield
        return
    folder = folder or Path(tempfile.gettempdir())
    every = visible()
    if len(every) < number:
        raise UserError(f"this job needs {number} GPUs and finds {len(every)} ({', '.join(every) or 'none'}).")
    told = False
    while True:
        with ExitStack() as stack:
            mine = []
            for device in every:
                if len(mine) < number and (file := _lock(device, folder)):
                    stack.enter_context(file)
                    mine.append(device)
            if len(mine) == number:
                os.environ[DEVICES] = ",".join(mine)
                yield
                return
        if not told:
            report(f"{len(mine)} of {number} GPUs are free: waiting")
            told = True
        time.sleep(POLL_SECONDS)
