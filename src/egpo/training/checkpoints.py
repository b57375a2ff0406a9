"""Which checkpoints of a training are complete, and which are kept.

verl writes `global_step_<n>/` file by file and then its tracker file. A process that is killed in between leaves an
incomplete folder, or a tracker that is empty or names a missing folder. So a checkpoint counts only if it has a mark,
which lists the size of each file. Before a training resumes, `repair` removes all other checkpoints.
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
    """verl's folder of the checkpoint of a step."""
    return Path(root) / f"global_step_{step}"


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file of a checkpoint by its path in the folder, without the mark."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARK)
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def mark_complete(root: str | Path, step: int) -> None:
    """Mark the checkpoint of a step as completely written."""
    folder = folder_of(root, step)
    write_json(folder / MARK, _sizes(folder))


def damage(folder: Path) -> str | None:
    """What is wrong with a marked checkpoint (a file is missing or has another size); None if nothing is."""
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
    """Steps that have a complete checkpoint, ascending."""
    return sorted(step for step, folder in _steps(Path(root)).items() if (folder / MARK).is_file())


def largest(root: str | Path) -> int:
    """Bytes of the largest checkpoint, complete or not; 0 if there is none."""
    return max((sum(_sizes(folder).values()) for folder in _steps(Path(root)).values()), default=0)


def keep_last(root: str | Path, kept: int = KEPT) -> None:
    """Remove everything that is older than the last `kept` complete checkpoints."""
    complete = complete_steps(root)[-kept:]
    for step, folder in _steps(Path(root)).items():
        if complete and step < complete[0]:
            shutil.rmtree(folder, ignore_errors=True)


def repair(root: str | Path, report: Callable[[str], None]) -> int:
    """Make verl resume from the latest complete checkpoint, and remove incomplete and damaged ones.

    Args:
        root: folder of the checkpoints.
        report: called with a warning for each damaged checkpoint.

    Returns:
        The step to resume after, 0 if there is none.
    """
    root = Path(root)
    complete = []
    for step in complete_steps(root):
        wrong = damage(folder_of(root, step))
        if wrong:
            report(f"warning: the checkpoint of step {step} is damaged ({wrong}): it does not count")
        else:
            complete.append(step)
    latest = complete[-1] if complete else 0
    for step, folder in _steps(root).items():
        if step not in complete:
            shutil.rmtree(folder)
    if latest:
        write_text(root / TRACKER, str(latest))
    else:
        (root / TRACKER).unlink(missing_ok=True)
    return latest
