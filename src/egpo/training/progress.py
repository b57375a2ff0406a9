"""Files by which a training reports its state: a heartbeat, and a line of metrics for each step."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from egpo.common.errors import UserError
from egpo.common.files import write_json, write_text
from egpo.common.json_lines import read_objects

REWARD = "critic/score/mean"  # verl's name of the mean reward of a step's rollouts
HEARTBEAT = "heartbeat.json"
FAILURE = "failure.txt"  # beside the heartbeat: why the training ended, as a message for the user
ERROR = "error.txt"  # beside the heartbeat: the error that ended it otherwise
STOP = "stop"  # beside the heartbeat: asks the trainer to save after the current step, and to end
SAVED_AND_ENDED = 75  # exit code of a training that did so


class Heartbeat:
    """Writes the phase that a training is in, and the time, to a file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __call__(self, phase: str) -> None:
        """Enter `phase`: "step <n>: ..." while a step is under way."""
        write_json(self.path, {"phase": phase, "time": time.time()})


def read_phase(path: Path) -> str | None:
    """The phase in a heartbeat file; None if there is no file yet."""
    try:
        return json.loads(path.read_text())["phase"]
    except FileNotFoundError:
        return None


class Stopped(Exception):
    """The trainer has saved, as it was asked to, and ends."""


AGAIN = "Run again to resume from the last checkpoint; if it comes back, lower training.learning_rate."


class NotFinite:
    """Ends a training whose gradients are not finite.

    verl skips an update whose gradient is not finite, and logs it in the worker only: without this check the training
    would go on without learning.
    """

    def __init__(self, patience: int = 3) -> None:
        self.patience, self._count = patience, 0

    def __call__(self, norm: float, step: int) -> None:
        """Look at the gradient's norm of a step.

        Raises:
            UserError: it is not finite, for the `patience`-th step in a row.
        """
        self._count = 0 if math.isfinite(norm) else self._count + 1
        if self._count >= self.patience:
            raise UserError(
                f"step {step}: the gradient's norm is {norm}, {self._count} steps in a row, so the model no longer "
                f"learns. {AGAIN}"
            )


class MetricsLog:
    """A logger for verl that appends lines `{"step": ..., "time": ..., <metric>: ...}` to a file.

    Args:
        path: the file.
        written: called with the step after each line.
    """

    def __init__(self, path: str | Path, written: Callable[[int], None]) -> None:
        self.path, self.written = Path(path), written

    def log(self, data: dict[str, Any], step: int) -> None:
        """Append the metrics of a step; values that are not finite numbers are left out."""
        values = {key: _number(value) for key, value in data.items()}
        line: dict[str, Any] = {"step": step, "time": round(time.time(), 3)}
        line.update({key: value for key, value in values.items() if value is not None})
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.written(step)


def _number(value: Any) -> float | int | None:
    """The value as a number for JSON; None for nan, infinity and text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and isinstance(value, int) else number


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Lines of a metrics file; a last line that is incomplete, after a kill, is left out."""
    lines: list[dict[str, Any]] = []
    # A file that is missing or still empty has no line yet; the lines before a broken one count.
    with suppress(UserError):
        for _, line in read_objects(path):
            lines.append(line)
    return lines


def forget_after(path: Path, step: int) -> None:
    """Remove the lines of steps after `step`, which a resumed training repeats."""
    kept = [line for line in read_lines(path) if line["step"] <= step]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
