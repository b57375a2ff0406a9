"""evalscope's mathematical scoring in a few lasting processes.

evalscope forks itself two or three times for each answer, because a parse may take minutes and can only be stopped with
its process. Here each call goes to one of some processes that stay; one that passes the limit is killed and replaced.
The calls, their limit and their errors are evalscope's own.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from evalscope.metrics.math import parser
from evalscope.metrics.math.contracts import MathEvaluationError

CALLS = 5000  # after which a process is replaced: sympy's caches grow
_STARTING = threading.Lock()


def _end_with(parent: int) -> None:
    """End this process once its parent is gone. PDEATHSIG would end it with the thread that started it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _serve(connection: Connection) -> None:
    """Answer calls until the other side is closed. Being daemonic, evalscope does not fork here."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            module, name, args, kwargs = connection.recv()
            with warnings.catch_warnings(record=True) as caught:
                try:
                    done = (True, getattr(importlib.import_module(module), name)(*args, **kwargs))
                except BaseException as error:
                    done = (False, error)
            issued = [(str(one.message), one.category) for one in caught]
            try:
                connection.send((*done, issued))
            except OSError:
                raise
            except Exception as error:  # nothing has been sent yet
                connection.send((False, MathEvaluationError(f"the score cannot be sent: {error}"), issued))


class _Worker:
    """One process, and the calls that it has answered."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _STARTING:  # a fork beside another one may be refused
            self._process.start()
        theirs.close()
        self.calls = 0

    def call(self, asked: tuple[Any, ...], seconds: float) -> tuple[bool, Any, list[Any]]:
        """The answer; TimeoutError or EOFError leave the process useless."""
        self.calls += 1
        self._connection.send(asked)
        if not self._connection.poll(seconds):
            raise TimeoutError
        return self._connection.recv()

    def end(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.join()


class Scorers:
    """Processes that score, shared by evalscope's threads."""

    def __init__(self, count: int) -> None:
        self._idle: queue.Queue[_Worker] = queue.Queue()
        for _ in range(count):
            self._idle.put(_Worker())

    def run(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        deadline: float,
        label: str,
        *,
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """As evalscope.metrics.math.isolation.run_isolated; waiting for an idle process does not count."""
        worker = self._idle.get()
        try:
            done, value, issued = worker.call((fn.__module__, fn.__name__, args, kwargs or {}), deadline)
        except (TimeoutError, EOFError, OSError) as error:
            worker.end()
            worker = _Worker()
            late = isinstance(error, TimeoutError)
            reason = f"exceeded the {deadline}s mathematical scoring deadline" if late else "scoring process ended"
            raise MathEvaluationError(f"{label}: {reason}") from error
        finally:
            if worker.calls >= CALLS:
                worker.end()
                worker = _Worker()
            self._idle.put(worker)
        for message, category in issued:
            warnings.warn(message, category, stacklevel=3)
        if not done:
            raise value
        return value

    def end(self) -> None:
        """End the processes that are idle."""
        while not self._idle.empty():
            self._idle.get().end()


@contextlib.contextmanager
def lasting_scorers(count: int | None = None) -> Iterator[None]:
    """Let evalscope score in `count` lasting processes; by default one for each core that this process may use."""
    parser._warm_up()  # so that the processes inherit what it imports
    scorers, before = Scorers(count or len(os.sched_getaffinity(0))), parser.run_isolated
    parser.run_isolated = scorers.run
    try:
        yield
    finally:
        parser.run_isolated = before
        scorers.end()
