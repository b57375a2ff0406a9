"""Which checkpoints of a training are whole, and which to keep.

verl writes `global_step_<n>/` piece by piece and then its tracker file. A process that is killed in
between leaves a half-written folder, or a tracker that is empty or names a folder that is gone. So a
checkpoint counts only with our mark in it, which lists the size of each file, and before a resume everything
else is put right.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from egpo.common.files import write_json, write_text

MARK = "complete"
TRACKER = "latest_checkpointed_iteration.txt"
KEPT = 2


def folder_of(root: str | Path, step: int) -> Path:
    return Path(root) / f"global_step_{step}"


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file of a checkpoint but our mark, by its path in there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARK)
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def mark_complete(root: str | Path, step: int) -> None:
    """Say that everything of this step's checkpoint is written."""
    folder = folder_of(root, step)
    write_json(folder / MARK, _sizes(folder))


def damage(folder: Path) -> str | None:
    """What is wrong with a marked checkpoint, None if nothing: files that are missing or have another size."""
    try:
        written = json.loads((folder / MARK).read_text())
    except json.JSONDecodeError:
        return f"{MARK} cannot be read"
    found = _sizes(folder)
    for name, size in written.items():
        if found.get(name) != size:
            return f"{name} has {found[name]} of {size} bytes" if name in found else f"{name} is missing"
    return None


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


def largest(root: str | Path) -> int:
    """Bytes of the largest checkpoint, whole or not; 0 if there is none."""
    return max((sum(_sizes(folder).values()) for folder in _steps(Path(root)).values()), default=0)


def keep_last(root: str | Path, kept: int = KEPT) -> None:
    """Remove all but the last `kept` whole checkpoints, and older remains."""
    whole = complete_steps(root)[-kept:]
    for step, folder in _steps(Path(root)).items():
        if whole and step < whole[0]:
            shutil.rmtree(folder, ignore_errors=True)


def repair(root: str | Path, report: Callable[[str], None]) -> int:
    """Make verl resume from the latest whole checkpoint; returns its step, 0 if there is none."""
    root = Path(root)
    whole = []
    for step in complete_steps(root):
        wrong = damage(folder_of(root, step))
        if wrong:
            report(f"warning: the checkpoint of step {step} is damaged ({wrong}): it does not count")
        else:
            whole.append(step)
    latest = whole[-1] if whole else 0
    for step, folder in _steps(root).items():
        if step not in whole:
            shutil.rmtree(folder)
    if latest:
        write_text(root / TRACKER, str(latest))
    else:
        (root / TRACKER).unlink(missing_ok=True)
    return latest
