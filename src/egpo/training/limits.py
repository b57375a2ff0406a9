"""How long a training may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Seconds: `time` until the training is asked to end, `grace` for it to finish its step and save, `stall` without
    any progress until it is ended.
    """

    time: float
    grace: float
    stall: float
