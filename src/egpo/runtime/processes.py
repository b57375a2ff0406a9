"""Linux's process control by prctl(2). Standard library only."""

from __future__ import annotations

import ctypes
import os
import signal

ASK_FOR_STACKS = signal.SIGUSR2  # egpo.runtime.stacks
SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process; see prctl(2)."""
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def end_with_parent(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Let this process get a signal when the thread that has started it ends; at once, if that has ended already.

    Args:
        parent: the id of that thread's process, read before this process was forked.
        by: the signal that this process gets.
    """
    prctl(SET_PDEATHSIG, by)
    if os.getppid() != parent:
        os.kill(os.getpid(), by)


def keep_sigterm_blocked() -> None:
    """Keep multiprocessing from unblocking SIGTERM where it is blocked (by egpo.runtime.guard).

    multiprocessing blocks SIGINT and SIGTERM while it starts its resource tracker, and then unblocks both, even if they
    were blocked before.
    """
    if signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, []):
        from multiprocessing import resource_tracker  # here, as the guard does not need it

        resource_tracker._IGNORED_SIGNALS = (signal.SIGINT,)  # type: ignore[attr-defined]  # typeshed has no private names
