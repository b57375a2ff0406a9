"""Ray's workers on a CPU, forked from a process that has imported verl.

Ray starts Python twice for each worker, and each of a training's workers imports torch and verl again: on two cores
that is most of the time until the first step. Here Ray runs egpo.runtime.fork_client in place of its own start
script. That hands its command line, environment and output files to a server, which forks a worker: with all imports
done, in tenths of a second. On GPUs nothing of this is used, as CUDA does not survive a fork.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterable
from typing import Any, NoReturn

from egpo.runtime import fork_client, forks, stacks
from egpo.runtime.processes import SET_PDEATHSIG, end_with_parent, prctl

MESSAGE = 2**20  # bytes, more than a command line and an environment have
NO_JOB = "ffffffff"
BACKLOG = 64  # workers that Ray may ask for at the same time


def start(modules: Iterable[str]) -> int:
    """Start a server that imports some modules first; it ends with this process. Requests wait until it is ready.

    Returns:
        The server's process id.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(fork_client.address()))
        listener.listen(BACKLOG)
        number = listener.fileno()
        # Ray reads these two once, when it is imported. Workers get their job with their first task.
        me = os.getpid()
        ray = {"RAY_JOB_ID": NO_JOB, "RAY_RAYLET_PID": str(me)}
        command = [sys.executable, "-m", __spec__.name, str(number), *modules]
        return forks.popen(
            command,
            pass_fds=[number],
            env={**os.environ, **ray},
            preexec_fn=lambda: end_with_parent(me),  # from its first moment, as its imports take long
        ).pid


def watch(server: int) -> None:
    """End this process when the server ends: a training would wait for its workers forever."""
    file = os.pidfd_open(server)

    def end() -> None:
        select.select([file], [], [])
        print(
            "the process that Ray's workers are forked from has ended; its error is above", file=sys.stderr, flush=True
        )
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _serve(listener: socket.socket) -> NoReturn:
    """Fork a worker for each request."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended workers leave nothing behind
    gc.freeze()  # else a worker's first collection copies every page of its parent
    while True:
        connection, _ = listener.accept()
        message, files, _, _ = socket.recv_fds(connection, MESSAGE, 3)
        if os.fork() == 0:
            connection.close()
            listener.close()
            _become_worker(json.loads(message), files)
        connection.close()
        for file in files:
            os.close(file)


def _become_worker(request: dict[str, Any], files: list[int]) -> NoReturn:
    """Turn this process into the worker that Ray asked for."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    prctl(SET_PDEATHSIG, 0)  # as with Ray's own: a worker ends by itself when Ray has ended
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.update(request["environment"])  # what imports have set here stays
    forks.new_random_numbers()
    sys.argv = request["arguments"]
    code = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # not to unwind into the server's loop
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(number: int, modules: list[str]) -> NoReturn:
    stacks.register()  # and with it all workers
    for module in modules:
        importlib.import_module(module)
    _serve(socket.socket(fileno=number))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
