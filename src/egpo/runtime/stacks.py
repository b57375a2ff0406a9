"""Where the processes of a training stand: the Python stacks of all their threads, which a signal asks for.

A process that has called `register` appends its stacks to a file in the training's folder when it gets the signal,
whatever it is doing: the handler is faulthandler's, which needs neither the interpreter's lock nor memory. The driver
and the fork server call it before their long imports, all other processes of verl when they load the plug-in.
"""

from __future__ import annotations

import faulthandler
import os
import time
from pathlib import Path

from egpo.runtime.fork_client import RUN_FOLDER
from egpo.runtime.guard import descendants
from egpo.runtime.processes import ASK_FOR_STACKS

SECONDS = 0.2  # for a process to write its stacks
NAME = "stacks"


def register() -> None:
    """Let this process write its stacks when it gets ASK_FOR_STACKS. Does nothing outside a training."""
    if folder := os.environ.get(RUN_FOLDER):
        try:
            file = (Path(folder) / NAME).open("ab")
        except OSError:  # on another node, which does not have this folder
            return
        faulthandler.register(ASK_FOR_STACKS, file)


def collect(root: int, folder: Path) -> str:
    """Stacks of all processes below `root`, one process after the other.

    Args:
        root: id of a process whose descendants are asked.
        folder: the training's folder, as in the environment variable RUN_FOLDER.

    Returns:
        A paragraph for each process; of one that has not registered, such as Ray's own, its command line alone.
    """
    path = folder / NAME
    with path.open("ab", buffering=0) as file:
        for pid in descendants(root):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").strip()
                file.write(b"\n--- process %d: %s\n" % (pid, command[:200]))
                if _is_registered(pid):
                    os.kill(pid, ASK_FOR_STACKS)
                    time.sleep(SECONDS)
            except OSError:
                continue  # it has ended
    return path.read_text(errors="replace")


def _is_registered(pid: int) -> bool:
    """Whether the process handles ASK_FOR_STACKS; another one would be ended by it."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (ASK_FOR_STACKS - 1) & 1)
