"""Reserving GPUs: each job locks as many as it asks for, on a machine without a scheduler or in one Slurm job."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from egpo.common.errors import UserError

POLL_SECONDS = 1.0
DEVICES = "CUDA_VISIBLE_DEVICES"
SLURM_JOB = "SLURM_JOB_ID"
NO_DEVICE = {"", "-1", "NoDevFiles"}  # the last is Slurm's


def visible() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them: numbers, GPU-<uuid>, MIG-<uuid>.

    Raises:
        UserError: no NVIDIA driver answers.
    """
    if DEVICES in os.environ:
        return [name for name in map(str.strip, os.environ[DEVICES].split(",")) if name not in NO_DEVICE]
    try:
        text = subprocess.check_output(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"nvidia-smi: {error}. This job needs a GPU: run it where there is one, or set `platform: cpu`."
        ) from None
    return text.split()


def lock_file(device: str, folder: Path) -> Path:
    """The lock of a GPU. Slurm numbers the GPUs of each of its jobs anew, so each has locks of its own."""
    job = f"job-{os.environ[SLURM_JOB]}-" if SLURM_JOB in os.environ else ""
    return folder / f"egpo-gpu-{job}{re.sub(r'[^A-Za-z0-9.-]', '_', device)}.lock"  # old names of MIG have slashes


def _open(file: Path) -> int:
    """Open a lock for reading, which is enough to lock it: another user may have made it."""
    try:
        return os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        pass
    try:
        opened = os.open(file, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:  # made by another job in this moment
        return os.open(file, os.O_RDONLY)
    os.fchmod(opened, 0o644)  # whatever the umask is
    return opened


def _lock(device: str, folder: Path) -> int | None:
    """The locked file of a GPU, None if another job holds it. The kernel unlocks it when its holder ends."""
    file = lock_file(device, folder)
    try:
        opened = _open(file)
    except OSError as error:
        raise UserError(
            f"{file}: cannot be opened ({error.strerror}), so nobody knows who uses GPU {device}. Have its owner "
            "remove it, or set TMPDIR to a folder that all users of these GPUs share."
        ) from None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        return None
    return opened


def _described(file: Path) -> str:
    """A lock, and which user made it."""
    try:
        return f"{file} of {file.owner()}"
    except (KeyError, OSError):  # a user without a name, as in a container
        return str(file)


@contextmanager
def reserve_gpus(number: int, report: Callable[[str], None], folder: Path | None = None) -> Iterator[None]:
    """Reserve GPUs of this machine while the block runs, and name them in CUDA_VISIBLE_DEVICES.

    Waits while other jobs of such workflows, of any user, hold too many. In a job of Slurm, which assigns GPUs itself,
    at most those that it sees: several may run in one allocation, or one on several nodes.

    Args:
        number: GPUs that the job needs; 0 reserves none.
        report: called once with a line if the job has to wait.
        folder: where the lock files are; the system's temporary folder by default.

    Raises:
        UserError: the machine has fewer GPUs, or a lock cannot be opened.
    """
    if number == 0:
        yield
        return
    folder = folder or Path(tempfile.gettempdir())
    devices = visible()
    if SLURM_JOB in os.environ and devices:
        number = min(number, len(devices))
    if len(devices) < number:
        raise UserError(f"this job needs {number} GPUs and finds {len(devices)} ({', '.join(devices) or 'none'}).")
    reported = False
    while True:
        with ExitStack() as stack:
            reserved, held = list[str](), list[str]()
            for device in devices:
                if len(reserved) == number:
                    break
                if (opened := _lock(device, folder)) is None:
                    held.append(device)
                else:
                    stack.callback(os.close, opened)
                    reserved.append(device)
            if len(reserved) == number:
                os.environ[DEVICES] = ",".join(reserved)
                yield
                return
        if not reported:
            locks = ", ".join(_described(lock_file(device, folder)) for device in held)
            report(f"{len(reserved)} of {number} GPUs are free: waiting for {locks}")
            reported = True
        time.sleep(POLL_SECONDS)
