"""Which checkpoints of a training are whole, and which to keep.

verl writes `global_step_<n>/` piece by piece and then its tracker file. A process that is killed in
between leaves a half-written folder, or a tracker that is empty or names a folder that is gone. So a
checkpoint counts only with our mark in it, and before a resume everything else is put right.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from egpo.files import write_text

MARK = "complete"
TRACKER = "latest_checkpointed_iteration.txt"
KEPT = 2


def folder_of(root: str | Path, step: int) -> Path:
    return Path(root) / f"global_step_{step}"


def mark_complete(root: str | Path, step: int) -> None:
    """Say that everything of this step's checkpoint is written."""
    write_text(folder_of(root, step) / MARK, f"{step}\n")


def _steps(root: Path) -> dict[int, Path]:
    found = {}
    for folder in root.glob("global_step_*"):
        match = re.fullmatch(r"global_step_(\d+)", folder.name)
        if match:
            found[int(match[1])] = folder
    return found


def complete_steps(root: str | Path) -> list[int]:
    """Steps that have a whole checkpoint, ascending."""
    return sorted(step for step, folder in _steps(Path(root)).items() if (folder / MARK).is_file())


def keep_last(root: str | Path, kept: int = KEPT) -> None:
    """Remove all but the last `kept` whole checkpoints, and older remains."""
    whole = complete_steps(root)[-kept:]
    for step, folder in _steps(Path(root)).items():
        if whole and step < whole[0]:
            shutil.rmtree(folder, ignore_errors=True)


def repair(root: str | Path) -> int:
    """Make verl resume from the latest whole checkpoint; returns its step, 0 if there is none."""
    root = Path(root)
    whole = complete_steps(root)
    latest = whole[-1] if whole else 0
    for step, folder in _steps(root).items():
        if step not in whole:
            shutil.rmtree(folder)
    if latest:
        write_text(root / TRACKER, str(latest))
    else:
        (root / TRACKER).unlink(missing_ok=True)
    return latest
