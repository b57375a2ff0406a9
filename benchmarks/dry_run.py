"""Seconds of Snakemake's dry run of the paper's matrix, from the start of Python on, at 1, 10 and 100 times its size.

    make bench-dry-run

More seeds per method make the matrix larger. Writes results/bench/dry_run.md.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from egpo.common.paths import ROOT

OUT = ROOT / "results" / "bench" / "dry_run.md"
SIZES = (1, 10, 100)
COUNT = "import sys; from egpo.cli.plan.dry_run import dry_run; print(len(dry_run(sys.argv[1:], {})))"


def dry_run(seeds: int, folder: Path) -> tuple[int, float]:
    """Number of jobs, and seconds."""
    overlay = folder / f"seeds-{seeds}.yaml"
    overlay.write_text(yaml.safe_dump({"training_seeds": list(range(1, seeds + 1)), "experiment": "bench-dry-run"}))
    command = [sys.executable, "-c", COUNT, "config/paper.yaml", str(overlay)]
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - start
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    return int(done.stdout), seconds


def main() -> None:
    lines = [
        "# Seconds of a dry run (`make bench-dry-run`)",
        "",
        "| matrix | jobs | seconds |",
        "| ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            jobs, seconds = dry_run(size, Path(folder))
            lines.append(f"| {size} x | {jobs:,} | {seconds:.1f} |")
            print(lines[-1], flush=True)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
