"""The processes of a training: their environment, and the guard that ends all of them."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omegaconf import DictConfig

from egpo.runtime import forks
from egpo.runtime.guard import descendants
from egpo.runtime.processes import SET_CHILD_SUBREAPER, prctl
from egpo.runtime.short_folder import short_folder
from egpo.training import trackers
from egpo.training.cpu import cpu_environment
from egpo.training.names import ADDRESS, RUN_FOLDER

SECONDS_TO_END = 60  # for the guard to end a process tree
DEFAULTS = {
    "TOKENIZERS_PARALLELISM": "true",
    "NCCL_DEBUG": "WARN",
    "VLLM_LOGGING_LEVEL": "WARN",
    "VLLM_DISABLE_COMPILE_CACHE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_worker_niceness": "0",  # with Ray's 15, other jobs slow a training two- to threefold
    "HF_HUB_OFFLINE": "1",  # everything is in local folders
    "RAY_AUTH_MODE": "token",
}
OWN_RAY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # makes Ray listen on the loopback interface only
OTHER_VENDORS = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def environment(config: DictConfig, folder: str) -> dict[str, str]:
    """Environment variables of a training's processes: defaults, the user's on top, then those that must be set.

    Args:
        config: verl's settings of the training.
        folder: for Ray's session and sockets, and other files that end with the training.
    """
    secret = {
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else Ray writes one into the home folder
        "VLLM_API_KEY": secrets.token_hex(32),  # given to nobody: verl talks to its vLLM through Ray
    }
    # Slurm may set the variables of all vendors' GPUs at once, which verl refuses.
    user = {key: value for key, value in os.environ.items() if key not in OTHER_VENDORS}
    needed = {"TENSORBOARD_DIR": config.egpo_run.tensorboard, RUN_FOLDER: folder, **trackers.same_run(config)}
    if config.trainer.nnodes == 1:  # the training starts a new Ray
        user.pop(ADDRESS, None)
        # Other nodes do not have this folder. Here it takes the sockets and lock files that are otherwise left behind.
        needed |= OWN_RAY | {"TMPDIR": folder, "VLLM_RPC_BASE_PATH": folder}
    places = {
        "HF_DATASETS_CACHE": str(Path(folder) / "datasets"),  # verl's copy of the rows, else in the home folder
        # As PyTorch's own, to be found again by the next training.
        "TORCHINDUCTOR_CACHE_DIR": str(Path(tempfile.gettempdir()) / f"torchinductor_{os.getuid()}"),
        "VLLM_RPC_BASE_PATH": short_folder(),  # of vLLM's sockets
    }
    defaults = DEFAULTS | trackers.defaults(config) | places | secret
    return defaults | user | needed | (cpu_environment() if config.trainer.device == "cpu" else {})


@contextmanager
def guarded(config: DictConfig, settings: Path) -> Iterator[tuple[subprocess.Popen[bytes] | forks.Fork, Path]]:
    """Run egpo.verl_plugin.driver under egpo.runtime.guard.

    Leaving the block ends the guard, and with it everything that the training has started.

    Args:
        config: verl's settings of the training.
        settings: the file that holds them.

    Yields:
        The guard's process, which ends with the driver's exit code, and the folder of the training's processes.
    """
    folder = tempfile.mkdtemp(prefix="egpo-", dir=short_folder())
    command = [sys.executable, "-m", "egpo.runtime.guard", folder]
    command += [sys.executable, "-m", "egpo.verl_plugin.driver", str(settings)]
    before = set(descendants(os.getpid()))
    prctl(SET_CHILD_SUBREAPER, 1)
    guard = forks.popen(command, stdin=subprocess.PIPE, env=environment(config, folder), start_new_session=True)
    try:
        yield guard, Path(folder)
    finally:
        if guard.stdin:
            guard.stdin.close()
        if guard.wait(SECONDS_TO_END) < 0:  # the guard was killed
            _end_orphans(before)
            shutil.rmtree(folder, ignore_errors=True)
        prctl(SET_CHILD_SUBREAPER, 0)


def _end_orphans(before: set[int]) -> None:
    """Kill the processes of a dead guard, which are now below this process, the next reaper."""
    while found := set(descendants(os.getpid())) - before:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
