"""What a check of the doctor returns."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line of the doctor. remedy: a command, or a key of the configuration; empty where nothing is wrong."""

    state: Literal["ok", "warning", "FAILED"]
    what: str
    found: str
    remedy: str = ""

    def line(self) -> str:
        text = f"{self.state:<8} {self.what}: {self.found}"
        return " ".join((f"{text}. {self.remedy}" if self.remedy else text).split("\n"))


def ok(what: str, found: str) -> Finding:
    return Finding("ok", what, found)


def warning(what: str, found: str, remedy: str) -> Finding:
    return Finding("warning", what, found, remedy)


def failed(what: str, found: str, remedy: str) -> Finding:
    return Finding("FAILED", what, found, remedy)


def answer(*command: str, seconds: float = 20) -> tuple[bool, str]:
    """Whether a command succeeded within `seconds`, and its output, or the last line of its errors."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return False, f"{command[0]} does not answer in {seconds:.0f} s"
    except OSError as error:
        return False, str(error)
    said = done.stderr.strip() or done.stdout.strip() or f"{command[0]} ended with code {done.returncode}"
    return (True, done.stdout) if done.returncode == 0 else (False, said.splitlines()[-1])
