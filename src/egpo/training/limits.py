"""How long a training may take."""

from __future__ import annotations

from dataclasses import dataclass

START_MINUTES = 5  # on Slurm a job's time counts from before Python's start


@dataclass(frozen=True)
class Limits:
    """Seconds: `time` until the training is asked to end, `grace` for it to finish its step and save, `stall` without
    any progress until it is ended.
    """

    time: float
    grace: float
    stall: float
