"""Run a command, and end everything that it started before ending itself.

    python -m egpo.runtime.guard FOLDER COMMAND [ARGUMENT ...]

Daemons and workers of Ray and vLLM form their own sessions and process groups, and some lose their parents when others
are killed. The guard is the reaper of all its descendants (PR_SET_CHILD_SUBREAPER), so none can leave its process tree.
It kills the tree when the command ends or when its standard input is closed, which also happens when the process that
started the guard dies, even by SIGKILL. SIGTERM is blocked in the tree: Slurm sends it to all processes of a job that
must end, and the trainer has to save first. FOLDER is removed at the end. Standard library only, so that the guard
starts quickly and needs little memory.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from egpo.runtime import forks
from egpo.runtime.processes import SET_CHILD_SUBREAPER, end_with_parent, prctl

SECONDS_TO_TIDY = 3  # for multiprocessing's resource trackers, which unlink the shared memory of killed processes
KILLED = 137


def _parents() -> dict[int, int]:
    """Parent of every running process, without zombies."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except (OSError, ValueError):
                continue  # the process has ended
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    return parents


def descendants(root: int) -> list[int]:
    """Process ids of everything below the process `root`."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        children.setdefault(parent, []).append(pid)
    found, queue = [], [root]
    while queue:
        for pid in children.get(queue.pop(), []):
            found.append(pid)
            queue.append(pid)
    return found


def _is_tracker(pid: int) -> bool:
    try:
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _reap() -> dict[int, int]:
    """Collect ended children; exit codes by process id."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = os.waitstatus_to_exitcode(status)


def end_all(root: int) -> None:
    """Kill everything below the process `root`; resource trackers get SECONDS_TO_TIDY to end by themselves."""
    patience = time.monotonic() + SECONDS_TO_TIDY
    while found := descendants(root):
        for pid in found:
            if time.monotonic() > patience or not _is_tracker(pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        _reap()
        time.sleep(0.05)
    _reap()


def main(folder: str, command: list[str]) -> int:
    """Run `command` under guard; returns its exit code, 128 + n where signal n ended it."""
    prctl(SET_CHILD_SUBREAPER, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # inherited by the whole tree
    me = os.getpid()
    process = forks.popen(command, stdin=subprocess.DEVNULL, preexec_fn=lambda: end_with_parent(me))
    code = None
    while code is None:
        code = _reap().get(process.pid)
        readable, _, _ = select.select([0], [], [], 0.2)
        if readable and not os.read(0, 1):
            code = KILLED
    end_all(os.getpid())
    shutil.rmtree(folder, ignore_errors=True)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
