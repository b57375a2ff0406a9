"""How long a training may take."""

from __future__ import annotations

from dataclasses import dataclass

START_MINUTES = 5  # Slurm counts a job's time from before Python starts


@dataclass(frozen=True)
class Limits:
    """Limits of a training, in seconds.

    Attributes:
        time: until the training is asked to save and end.
        grace: for it to finish its step and save.
        stall: without progress until it is ended.
    """

    time: float
    grace: float
    stall: float
