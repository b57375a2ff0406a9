"""One evaluation job per model beside one per seed: the same answers, and the time of both.

    make bench-evaluation

On a tiny random model and the synthetic benchmarks of the demo, with 8 trials. Writes results/bench/evaluation.md; ends
with code 1 if a target is missed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from egpo.common.paths import ROOT
from egpo.config.files import read_yaml
from egpo.config.loader import load
from egpo.synthetic.benchmark import write_benchmark

OUT = ROOT / "results" / "bench"
SEEDS = tuple(range(1, 9))
JOB = """
import json, sys
from pathlib import Path
from egpo.config.backbones import Backbone
from egpo.config.benchmarks import Benchmark
from egpo.config.evaluation import Evaluation
from egpo.evaluation.run import evaluate
a = json.loads(sys.argv[1])
evaluate(Path(a["model"]), Backbone.model_validate(a["backbone"]),
         {name: Benchmark.model_validate(values) for name, values in a["benchmarks"].items()},
         {name: Path(path) for name, path in a["folders"].items()}, Evaluation.model_validate(a["settings"]),
         Path(a["out"]) / "work", Path(a["out"]), "benchmark", lambda message: print(message, flush=True))
"""


def job(arguments: dict, seeds: tuple[int, ...], out: Path) -> tuple[float, pd.DataFrame]:
    """Seconds and records of one process that evaluates some seeds from an empty folder."""
    shutil.rmtree(out, ignore_errors=True)
    settings = {**arguments["settings"], "seeds": seeds}
    start = time.monotonic()
    command = [sys.executable, "-c", JOB, json.dumps({**arguments, "settings": settings, "out": str(out)})]
    with (OUT / "evaluation.log").open("a") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)
    return time.monotonic() - start, pd.read_parquet(out / "records.parquet")


def prepare() -> dict:
    """The demo's benchmarks and settings, and a model of its size: its start is warmed up, this one's is random."""
    sys.path.insert(0, str(ROOT / "tests"))
    from evaluation_runs import make_model

    demo = load(read_yaml(ROOT / "config/demo.yaml"), "config/demo.yaml")
    folders = {name: OUT / "benchmarks" / name for name in demo.benchmarks}
    for name, benchmark in demo.benchmarks.items():
        write_benchmark(benchmark, folders[name])
    model = OUT / "evaluated-model"
    model.mkdir(parents=True, exist_ok=True)
    backbone = demo.backbones["tiny-math"]
    return {
        "model": str(make_model(model, backbone.max_model_len)),
        "backbone": backbone.model_dump(mode="json"),
        "benchmarks": {name: benchmark.model_dump(mode="json") for name, benchmark in demo.benchmarks.items()},
        "folders": {name: str(folder) for name, folder in folders.items()},
        "settings": demo.experiment.evaluation.model_dump(mode="json"),
    }


def main() -> int:
    arguments = prepare()
    together, records = job(arguments, SEEDS, OUT / "evaluation" / "together")
    apart, parts = 0.0, []
    for seed in SEEDS:
        seconds, part = job(arguments, (seed,), OUT / "evaluation" / f"seed-{seed}")
        apart, parts = apart + seconds, [*parts, part.assign(trial=seed)]
    order = ["benchmark", "trial", "question"]
    one, other = (
        table.sort_values(order, ignore_index=True) for table in (records, pd.concat(parts).astype(records.dtypes))
    )
    same = one.equals(other[one.columns])
    ratio = apart / together
    answers = len(records)
    targets = {
        f"the same records: {'yes' if same else 'NO'}": same,
        f"at least 3 times as quick: {ratio:.1f}": ratio >= 3,
    }
    lines = [
        "# One evaluation job per model, or one per seed",
        "",
        f"`make bench-evaluation` on {os.cpu_count()} cores: a random model of the demo's size, its five synthetic "
        f"benchmarks, {len(SEEDS)} trials, {answers} answers. Whole processes, from the start to the records.",
        "",
        "| | seconds | answers per second |",
        "| --- | ---: | ---: |",
        f"| one job for all seeds | {together:.0f} | {answers / together:.1f} |",
        f"| one job per seed, one after the other | {apart:.0f} | {answers / apart:.1f} |",
        "",
        "Targets:",
        "",
        *(f"- {name}: {'met' if met else 'MISSED'}" for name, met in targets.items()),
    ]
    text = "\n".join(lines) + "\n"
    (OUT / "evaluation.md").write_text(text)
    print(text)
    return 0 if all(targets.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
