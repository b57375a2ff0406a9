"""Python processes that are forks of one that has imported their modules, in place of new starts.

A training on a CPU starts Python several times, and each start imports torch, verl and vLLM again. Where trainings
follow each other (egpo.study), one process imports them once and calls `import_once`. From then on `popen` forks in it
and in its forks, and what it starts runs as it would after a new start. Elsewhere `popen` is subprocess.Popen.
Standard library only, as egpo.runtime.guard uses it.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from egpo.runtime.processes import ASK_FOR_STACKS

POLL_SECONDS = 0.05
_imported: _Imported | None = None


class _Imported:
    """What the process was like when it had imported everything: its variables before, its open files after."""

    def __init__(self, modules: Iterable[str], hidden: Iterable[str]) -> None:
        self.variables = set(os.environ)
        for module in modules:
            importlib.import_module(module)
        for name in hidden:
            os.environ.pop(name, None)
        self.files = _open_files()
        gc.freeze()  # else the first collection in a fork copies every page


def import_once(modules: Iterable[str], hidden: Iterable[str] = ()) -> None:
    """Import the modules, and let `popen` fork from now on. This process must have one thread, and stay so.

    Args:
        hidden: environment variables that the imports read and that forks must not have.
    """
    global _imported
    _imported = _Imported(modules, hidden)


def ready() -> bool:
    """Whether `popen` forks in this process."""
    return _imported is not None


class Fork:
    """A forked child, with what is used here of subprocess.Popen."""

    def __init__(self, pid: int, stdin: IO[bytes] | None) -> None:
        self.pid, self.stdin = pid, stdin
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the child runs."""
        with self._lock:
            if self.returncode is None:
                with suppress(ChildProcessError):  # collected elsewhere: egpo.runtime.guard waits for any child
                    pid, status = os.waitpid(self.pid, os.WNOHANG)
                    if pid:
                        self.returncode = os.waitstatus_to_exitcode(status)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(f"fork {self.pid}", timeout or 0)
            time.sleep(POLL_SECONDS)
        return code

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def popen(
    command: list[str],
    stdin: int | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Iterable[int] = (),
    start_new_session: bool = False,
    preexec_fn: Callable[[], object] | None = None,
) -> subprocess.Popen[bytes] | Fork:
    """subprocess.Popen; a fork for `python -m <module>` after `import_once`.

    Args:
        command: as all others as of Popen; for a fork [sys.executable, "-m", module, argument, ...].
        stdin: None, subprocess.PIPE or subprocess.DEVNULL.
    """
    if _imported is None or command[:2] != [sys.executable, "-m"]:
        return subprocess.Popen(
            command,
            stdin=stdin,
            env=env,
            pass_fds=tuple(pass_fds),
            start_new_session=start_new_session,
            preexec_fn=preexec_fn,
        )
    reading, writing = os.pipe() if stdin == subprocess.PIPE else (None, None)
    if stdin == subprocess.DEVNULL:
        reading = os.open(os.devnull, os.O_RDONLY)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _become(command[2:], _imported, reading, env, set(pass_fds), start_new_session, preexec_fn)
    if reading is not None:
        os.close(reading)
    return Fork(pid, None if writing is None else os.fdopen(writing, "wb", buffering=0))


def _become(
    command: list[str],
    imported: _Imported,
    stdin: int | None,
    env: Mapping[str, str] | None,
    files: set[int],
    start_new_session: bool,
    preexec_fn: Callable[[], object] | None,
) -> NoReturn:
    """Run the module as a new Python would, and end this process."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        faulthandler.unregister(ASK_FOR_STACKS)  # its file is closed below
        if start_new_session:
            os.setsid()
        if preexec_fn is not None:
            preexec_fn()
        if stdin is not None:
            os.dup2(stdin, 0)
        for number in _open_files() - imported.files - files - {0, 1, 2}:
            os.close(number)
        if env is not None:
            for name in imported.variables - env.keys():
                os.environ.pop(name, None)  # a variable that an import has set stays, as after a new start
            os.environ.update(env)
        new_random_numbers()
        sys.argv = command
        warnings.filterwarnings("ignore", "'.*' found in sys.modules", RuntimeWarning)  # it is there on purpose
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # not to unwind into the code that has called `popen`
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _open_files() -> set[int]:
    """Numbers of this process's open files."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            os.fstat(int(entry.name))  # the listing itself had one, which is closed now
            found.add(int(entry.name))
    return found


def new_random_numbers() -> None:
    """A fresh state for numpy's generator, which all forks would share; `random` has done so by itself."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
