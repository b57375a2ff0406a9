"""What milestones and trackers cost a training: step time, memory and disk, with and without them, in one run.

    make bench-extras

The demo's data and model, GRPO. The record of the responses is always written; the phase `adv` is the method's
advantages and that record together. Writes results/bench/extras.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

import step

from egpo.common.paths import ROOT

STEPS = 8
VARIANTS: dict[str, dict[str, tuple]] = {
    "neither": {},
    "four milestones": {"milestones": (2, 4, 6, 8)},
    "TensorBoard and W&B, offline": {"trackers": ("tensorboard", "wandb")},
    "both": {"milestones": (2, 4, 6, 8), "trackers": ("tensorboard", "wandb")},
}
HEADER = ["", "seconds of a step", "of it `adv`", "start to end", "GiB of memory", "MB kept", "of it the record"]


def megabytes(*places: Path) -> float:
    """Size of files, and of all below folders; a file with several names counts once."""
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*")) if file.is_file()]
    return sum({file.stat().st_ino: file.stat().st_size for file in files}.values()) / 1e6


def main() -> int:
    sys.path.insert(0, str(ROOT))
    from kit.memory_watch import MemoryWatch

    step.OUT.mkdir(parents=True, exist_ok=True)
    rows = []
    for label, changes in VARIANTS.items():
        name = label.split(",")[0].replace(" ", "-")
        out = step.OUT / "step" / name
        with MemoryWatch("cpu", out / "work" / "heartbeat.json") as watch:
            found = step.measure(ROOT, name, STEPS, **changes)
        sums, lines = step.summary(found), found["lines"]
        kept = [place for place in out.iterdir() if place.name != "work"]
        rows.append(
            [
                label,
                f"{sums['step']:.2f}",
                f"{sums['adv']:.2f}",
                f"{lines[-1]['time'] - found['start']:.0f}",
                f"{max(watch.peaks.values()):.1f}",
                f"{megabytes(*kept):.1f}",
                f"{megabytes(*(place for place in kept if place.name in ('responses.parquet', 'samples.jsonl'))):.2f}",
            ]
        )
    text = f"# What milestones and trackers cost\n\n`make bench-extras`: the demo, {STEPS} steps of GRPO.\n\n"
    text += step.table(HEADER, rows)
    (step.OUT / "extras.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
