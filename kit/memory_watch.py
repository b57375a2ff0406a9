"""The peak memory of each phase of a training, seen from outside."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

from egpo.runtime.guard import descendants
from egpo.training.progress import read_phase

SECONDS = 0.5
GIB = 2**30


def gpu_gib() -> float:
    """GiB in use on the first GPU, by all processes."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(run.stdout or 0) / 1024


def tree_gib() -> float:
    """GiB of all processes below this one (proportional set size)."""
    total = 0
    for pid in descendants(os.getpid()):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # the process has ended
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024 / GIB


class MemoryWatch:
    """Reads the memory twice a second while the block runs.

    Attributes:
        peaks: GiB by phase, whose name has no step number.
    """

    def __init__(self, platform: str, heartbeat: Path) -> None:
        self._look = gpu_gib if platform == "cuda" else tree_gib
        self._heartbeat = heartbeat
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peaks: dict[str, float] = {}

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(SECONDS):
            phase = (read_phase(self._heartbeat) or "start").split(": ")[-1]
            self.peaks[phase] = max(self.peaks.get(phase, 0.0), self._look())
