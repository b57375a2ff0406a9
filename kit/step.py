"""The base of all steps of the kit: arguments, and recording results and errors."""

from __future__ import annotations

import argparse
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kit import results
from kit.sizes import Sizes, sizes


@dataclass
class Step:
    """One step.

    Attributes:
        name: of the step.
        platform: cuda or cpu.
        work: a folder for models and data, which all steps share.
        out: folder of the results.
        failed: whether a part of the step has failed.
    """

    name: str
    platform: str
    work: Path
    out: Path
    failed: bool = field(default=False, init=False)

    @property
    def sizes(self) -> Sizes:
        return sizes(self.platform)

    @property
    def device(self) -> str:
        """torch's name of the device."""
        return self.platform

    def folder(self, name: str) -> Path:
        """An empty folder for this step."""
        path = self.work / self.name / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def record(self, name: str, value: Any, unit: str = "", note: str = "") -> None:
        """Print one result and write it at once."""
        print(f"{name}: {results.value_text(value)} {unit} {note}".rstrip(), flush=True)
        line = {"step": self.name, "kind": "value", "name": name, "value": value, "unit": unit, "note": note}
        results.append(self.out, line)

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """A part of the step: an error in it is recorded with its traceback, and the step goes on."""
        try:
            yield
        except Exception:
            self.failed = True
            text = traceback.format_exc()
            print(text, file=sys.stderr, flush=True)
            results.append(self.out, {"step": self.name, "kind": "error", "name": name, "traceback": text})


def main(name: str, run: Callable[[Step], None]) -> None:
    """Run a step with the arguments of the command line; the exit code is 1 if a part failed."""
    parser = argparse.ArgumentParser(prog=f"kit.steps.{name}")
    parser.add_argument("--platform", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    step = Step(name, arguments.platform, arguments.work, arguments.out)
    with step.attempt(name):
        run(step)
    sys.exit(step.failed)
