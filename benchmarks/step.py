"""Start-up and steps of a training on this machine's CPU: time by phase, CPU time by process.

    make bench-step                      # this code
    make bench-step BEFORE=<commit>      # beside the code of a commit, in one run

The demo's data and model, GRPO, a few steps. Writes results/bench/step.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from egpo.common.paths import ROOT

OUT = ROOT / "results" / "bench"
DEMO = ROOT / "results" / "demo"
STEPS = 8
PHASES = ("gen", "old_log_prob", "adv", "update_actor", "update_weights", "step")
JOB = """
import inspect, json, sys
from pathlib import Path
from egpo.config.files import read_yaml
from egpo.config.loader import load
from egpo.training.limits import Limits
from egpo.training.run import run

demo, out, steps, extras = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
# An earlier commit does not choose sizes by the memory, and knows no trackers and no milestones.
known, more = inspect.signature(run).parameters, {"milestones": extras["milestones"]}
if "memory_gib" in known:
    more["memory_gib"] = 8
if "tracked" in known:
    from egpo.training.trackers import Tracked
    more["tracked"] = Tracked(tuple(extras["trackers"]), "benchmark", out.name, out / "trackers")
catalogue = load(read_yaml(Path("config/demo.yaml")), "config/demo.yaml")
training = catalogue.experiment.training
run(
    training=training.model_copy(update={"total_training_steps": steps, "save_freq": steps, "test_freq": steps}),
    method=catalogue.methods["grpo"], backbone=catalogue.backbones["tiny-math"],
    model=demo / "backbones/tiny-math/model", train_file=demo / "data/train.parquet",
    validation_file=demo / "data/validation.parquet", seed=1, out=out, code="benchmark",
    limits=Limits(time=3600, grace=60, stall=600), report=lambda line: print(line, flush=True),
    **{name: value for name, value in more.items() if name in known},
)
"""


def name_of(process: psutil.Process) -> str:
    """A short name of one of the training's processes."""
    command = process.cmdline()
    title = " ".join(command)
    if title.startswith("ray::"):
        return title.removeprefix("ray::").split(".")[0].split("(")[0].strip()
    if "-m" in command[:-1]:
        return command[command.index("-m") + 1].rsplit(".", 1)[-1]
    return Path(command[1] if len(command) > 1 and command[1].endswith(".py") else command[0]).name


class CpuTime:
    """CPU seconds of all processes that a training has started, by name."""

    def __init__(self, root: int) -> None:
        self._root = psutil.Process(root)
        self._seen: dict[tuple[int, float], tuple[str, float]] = {}

    def __call__(self) -> Counter[str]:
        for process in self._root.children(recursive=True):
            try:
                times = process.cpu_times()
                self._seen[process.pid, process.create_time()] = (name_of(process), times.user + times.system)
            except (psutil.Error, IndexError):
                continue  # it has just ended
        total: Counter[str] = Counter()
        for name, seconds in self._seen.values():
            total[name] += seconds
        return total


def lines_of(file: Path) -> list[dict]:
    """The complete lines of the steps so far."""
    text = file.read_text() if file.exists() else ""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in lines if "timing_s/step" in line]


def measure(
    tree: Path, label: str, steps: int, milestones: tuple[int, ...] = (), trackers: tuple[str, ...] = ()
) -> dict:
    """Run a training with the code in `tree`.

    Args:
        milestones: the steps after which a model is kept.
    """
    out = OUT / "step" / label
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    command = [sys.executable, "-c", JOB, str(DEMO), str(out), str(steps)]
    command.append(json.dumps({"milestones": milestones, "trackers": trackers}))
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "GOMP_SPINCOUNT": "10000"}
    start, first = time.time(), Counter()
    with (OUT / f"step-{label}.log").open("w") as log:
        job = subprocess.Popen(command, cwd=tree, env=environment, stdout=log, stderr=log)
        cpu = CpuTime(job.pid)
        seen = 0
        while job.poll() is None:
            time.sleep(0.1)
            usage, lines = cpu(), lines_of(out / "work" / "metrics.jsonl")
            if lines and not seen:
                first = usage
            seen = len(lines)
            if seen == steps:
                break
        last = usage
        job.wait()
    if job.returncode:
        raise SystemExit(f"the training failed: see {OUT / f'step-{label}.log'}")
    return {"lines": lines, "start": start, "first": first, "last": last}


def summary(found: dict) -> dict[str, float]:
    """Seconds: of the start-up, of a step, and of its phases (median without the first step)."""
    lines = found["lines"]
    rows = {"start-up": lines[0]["time"] - lines[0]["timing_s/step"] - found["start"]}
    for phase in PHASES:
        rows[phase] = statistics.median(line.get(f"timing_s/{phase}", 0.0) for line in lines[1:])
    return rows | {"tokens": statistics.median(line["perf/total_num_tokens"] for line in lines[1:])}


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def report(found: dict[str, dict], steps: int) -> str:
    """Both tables, a column for each code."""
    names = list(found)
    sums = {name: summary(found[name]) for name in names}
    rows = [[phase, *(f"{sums[name][phase]:.2f}" for name in names)] for phase in ("start-up", *PHASES)]
    rows.append(["tokens a step", *(f"{sums[name]['tokens']:,.0f}" for name in names)])
    if len(names) == 2:
        for row in rows[:-1]:
            row.append(f"{float(row[1]) / max(float(row[2]), 0.01):.1f}")
    text = table(["seconds", *names, *(["ratio"] if len(names) == 2 else [])], rows)
    header = ["CPU seconds"]
    for name in names:
        header += [f"{name}: to the end of step 1", f"{name}: a step after it"]
    every = sorted({process for name in names for process, spent in found[name]["last"].items() if spent >= 0.5})
    body = []
    for process in [*every, "all"]:
        row = [process]
        for name in names:
            first, last = found[name]["first"], found[name]["last"]
            if process == "all":
                once, later = first.total(), last.total() - first.total()
            else:
                once, later = first[process], last[process] - first[process]
            row += [f"{once:.1f}", f"{later / (steps - 1):.2f}"]
        body.append(row)
    return text + "\n" + table(header, body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", help="a commit to compare with")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    found = {}
    if options.before:
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder) / "before"
            subprocess.run(["git", "worktree", "add", "-q", "--detach", tree, options.before], cwd=ROOT, check=True)
            try:
                found["before"] = measure(tree, "before", options.steps)
            finally:
                subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)
    found["now"] = measure(ROOT, "now", options.steps)
    text = report(found, options.steps)
    (OUT / "step.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
