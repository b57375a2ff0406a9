"""Linux's process control, as far as it is needed. Standard library only."""

from __future__ import annotations

import ctypes
import signal

SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process; see prctl(2)."""
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def keep_sigterm_blocked() -> None:
    """Where SIGTERM is blocked (egpo.runtime.guard), keep multiprocessing from letting it through.

    It blocks SIGINT and SIGTERM while it starts its tracker of shared memory, and unblocks both whatever was before.
    """
    if signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, []):
        from multiprocessing import resource_tracker  # not for the guard, which is to hold no memory

        resource_tracker._IGNORED_SIGNALS = (signal.SIGINT,)
