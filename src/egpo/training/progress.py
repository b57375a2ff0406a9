"""What a running training says of itself: a heartbeat file, and one line of metrics a step."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from egpo.common.errors import UserError
from egpo.common.files import write_json, write_text

REWARD = "critic/score/mean"  # verl's name of the mean reward of a step's rollouts
FAILURE = "failure.txt"  # beside the heartbeat: why the training ended, as a message for the user
STOP = "stop"  # beside the heartbeat: asks the trainer to save after the step at hand, and to end
SAVED_AND_ENDED = 75  # exit code of a training that did so


class Heartbeat:
    """A small file that says what the training is at; its age tells whether the training still moves."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __call__(self, phase: str) -> None:
        write_json(self.path, {"phase": phase, "time": time.time()})


def read_phase(path: Path) -> str | None:
    """What the heartbeat last said, None before its first word."""
    try:
        return json.loads(path.read_text())["phase"]
    except FileNotFoundError:
        return None


class Stopped(Exception):
    """The trainer was asked to end, and has saved."""


AGAIN = "Run again to resume from the last checkpoint; if it comes back, lower training.learning_rate."


class NotFinite:
    """Ends a training whose updates have come to nothing.

    verl leaves out an update whose gradient is not finite, and says so in a worker's log alone.
    """

    def __init__(self, patience: int = 3) -> None:
        self.patience, self._row = patience, 0

    def __call__(self, norm: float, step: int) -> None:
        """`norm`: the gradient's, of this step. Raises UserError at the `patience`-th in a row that is not finite."""
        self._row = 0 if math.isfinite(norm) else self._row + 1
        if self._row >= self.patience:
            raise UserError(
                f"step {step}: the gradient's norm is {norm}, {self._row} steps in a row, so that nothing is "
                f"learned any more. {AGAIN}"
            )


class MetricsLog:
    """A logger of verl's kind: appends `{"step": ..., "time": ..., <metric>: ...}` lines to a file.

    written: called with the step after each line.
    """

    def __init__(self, path: str | Path, written: Callable[[int], None]) -> None:
        self.path, self.written = Path(path), written

    def log(self, data: dict[str, Any], step: int) -> None:
        values = {key: _number(value) for key, value in data.items()}
        line = {"step": step, "time": round(time.time(), 3)}
        line.update({key: value for key, value in values.items() if value is not None})
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.written(step)


def _number(value: Any) -> float | int | None:
    """A finite number as JSON has it; what is none (nan, text) is left out."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and isinstance(value, int) else number


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file, without a last line that was cut off by a kill."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def forget_after(path: Path, step: int) -> None:
    """Drop the lines of steps after `step`: a resumed training repeats them."""
    kept = [line for line in read_lines(path) if line["step"] <= step]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
