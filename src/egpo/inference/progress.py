"""Progress of an evaluation or of rollouts, reported every few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from egpo.runtime.job import duration

Report = Callable[[str], None]
PROGRESS_SECONDS = 10


class Progress:
    """Counts answers of all trials, in any thread, and reports them every few seconds."""

    def __init__(self, total: int, report: Report) -> None:
        self._total, self._report = total, report
        self._lock = threading.Lock()
        self._done = 0
        self._start = self._last = time.monotonic()

    def tick(self) -> None:
        with self._lock:
            self._done += 1
            now = time.monotonic()
            if now - self._last < PROGRESS_SECONDS:
                return
            self._last = now
            line = f"{self._done}/{self._total} answers"
            if self._done >= self._total / 20:  # earlier, most work is in unfinished answers
                left = (now - self._start) / self._done * max(self._total - self._done, 0)
                line += f", {duration(left)} left"
            self._report(line)
