"""What the record of responses, milestones and trackers cost a training: step time, memory and disk, in one run.

    make bench-extras

The demo's data and model, GRPO. The record cannot be switched off, so the training without it is by a copy of this code
from which the call is cut. Trackers are all whose packages are installed. Writes results/bench/extras.md.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import get_args

import step

from egpo.common.paths import ROOT
from egpo.config.experiment import Tracker
from egpo.training.responses import RESPONSES, SAMPLES
from egpo.training.trackers import remedy

STEPS = 8
TRACKERS = tuple(name for name in get_args(Tracker) if remedy(name) is None)
MILESTONES = (1, 3, 5, 7)
RECORD = "        self._record(batch, tokens, parcel)\n"
# Label: whether the code records responses, milestones, trackers.
VARIANTS: dict[str, tuple[bool, tuple[int, ...], tuple[str, ...]]] = {
    "none of them": (False, (), ()),
    "the record": (True, (), ()),
    "the record and four milestones": (True, MILESTONES, ()),
    "the record and trackers": (True, (), TRACKERS),
    "all of them": (True, MILESTONES, TRACKERS),
}
HEADER = ["", "seconds of a step", "of it `adv`", "start to end", "GiB of memory", "MB kept", "of it the record"]


def without_the_record(folder: Path) -> Path:
    """Write a copy of this code that records no responses into a folder, which is returned."""
    for name in ("src", "config"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "src/egpo/verl_plugin/trainer.py"
    text = file.read_text()
    if text.count(RECORD) != 1:
        raise SystemExit(f"{file.name} has another call of the record: adjust RECORD in {Path(__file__).name}")
    file.write_text(text.replace(RECORD, ""))
    return folder


def megabytes(*places: Path) -> float:
    """Size of files, and of all below folders; a file with several names counts once."""
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*")) if file.is_file()]
    return sum({file.stat().st_ino: file.stat().st_size for file in files}.values()) / 1e6


def measured(tree: Path, name: str, milestones: tuple[int, ...], trackers: tuple[str, ...]) -> list[str]:
    """The row of a training by the code in `tree`."""
    sys.path.insert(0, str(ROOT))
    from kit.memory_watch import MemoryWatch

    out = step.OUT / "step" / name
    with MemoryWatch("cpu", out / "work" / "heartbeat.json") as watch:
        found = step.measure(tree, name, STEPS, milestones, trackers)
    sums, lines = step.summary(found), found["lines"]
    kept = [place for place in out.iterdir() if place.name != "work"]
    return [
        f"{sums['step']:.2f}",
        f"{sums['adv']:.2f}",
        f"{lines[-1]['time'] - found['start']:.0f}",
        f"{max(watch.peaks.values()):.1f}",
        f"{megabytes(*kept):.1f}",
        f"{megabytes(*(place for place in kept if place.name in (RESPONSES, SAMPLES))):.2f}",
    ]


def main() -> int:
    step.OUT.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        trees = {True: ROOT, False: without_the_record(Path(folder))}
        for label, (records, milestones, trackers) in VARIANTS.items():
            rows.append([label, *measured(trees[records], label.replace(" ", "-"), milestones, trackers)])
    text = "# What the record of responses, milestones and trackers cost\n\n"
    text += f"`make bench-extras`: the demo, {STEPS} steps of GRPO; trackers: {', '.join(TRACKERS)}.\n\n"
    text += step.table(HEADER, rows)
    (step.OUT / "extras.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
