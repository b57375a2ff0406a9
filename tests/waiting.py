"""How the tests wait: for an event, however busy the machine is. A limit is there only for what would never happen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

LIMIT = 1200.0  # seconds: many times what anything here takes on a busy machine
Found = TypeVar("Found")


def until(what: str, condition: Callable[[], Found], every: float = 0.1) -> Found:
    """Look every so many seconds, until `condition` holds; what it returned."""
    end = time.monotonic() + LIMIT
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: not within {LIMIT:.0f} s"
        time.sleep(every)
    return found
