"""One evaluation job per model beside one per seed, and beside an earlier commit's: the same answers, and the time.

    make bench-evaluation

On a tiny random model and the synthetic benchmarks of the demo, with 8 trials. The earlier commit is the last one whose
scores came from a fork for each; its code comes from the history. Writes results/bench/evaluation.md; ends with code 1
if a target is missed.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from earlier import source_of

from egpo.common.paths import ROOT
from egpo.config.files import read_yaml
from egpo.config.loader import load
from egpo.synthetic.benchmark import write_benchmark

OUT = ROOT / "results" / "bench"
SEEDS = tuple(range(1, 9))
EARLIER = "1c6ff02"
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


def job(arguments: dict, seeds: tuple[int, ...], out: Path, source: Path = ROOT) -> tuple[float, pd.DataFrame]:
    """Seconds and records of one process that evaluates some seeds from an empty folder, with the code in `source`."""
    shutil.rmtree(out, ignore_errors=True)
    settings = {**arguments["settings"], "seeds": seeds}
    command = [sys.executable, "-c", JOB, json.dumps({**arguments, "settings": settings, "out": str(out)})]
    environment = {**os.environ, "PYTHONPATH": str(source / "src")}
    start = time.monotonic()
    with (OUT / "evaluation.log").open("a") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log, env=environment)
    return time.monotonic() - start, pd.read_parquet(out / "records.parquet")


def in_order(records: pd.DataFrame) -> pd.DataFrame:
    return records.sort_values(["benchmark", "seed", "question"], ignore_index=True).drop(columns="trial")


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
        # As a folder: the earlier commit knows other keys of a synthetic model.
        "backbone": backbone.model_dump(mode="json", exclude_defaults=True)
        | {"source": {"kind": "local", "path": str(model)}},
        "benchmarks": {name: benchmark.model_dump(mode="json") for name, benchmark in demo.benchmarks.items()},
        "folders": {name: str(folder) for name, folder in folders.items()},
        "settings": demo.experiment.evaluation.model_dump(mode="json"),
    }


def main() -> int:
    arguments = prepare()
    place, source = OUT / "evaluation", source_of(EARLIER, OUT / "earlier")
    now: list[float] = []
    then: list[float] = []
    single: list[float] = []
    parts: list[pd.DataFrame] = []
    alone: list[pd.DataFrame] = []

    def together(code: Path, seconds: list[float]) -> None:
        spent, table = job(arguments, SEEDS, place / "together", code)
        seconds.append(spent)
        parts.append(in_order(table))

    def apart(seeds: tuple[int, ...]) -> None:
        for seed in seeds:
            spent, table = job(arguments, (seed,), place / f"seed-{seed}")
            single.append(spent)
            alone.append(table)

    # Symmetrical, for a machine that becomes faster or slower meanwhile.
    half = len(SEEDS) // 2
    together(ROOT, now)
    apart(SEEDS[:half])
    together(source, then)
    together(ROOT, now)
    together(source, then)
    apart(SEEDS[half:])
    together(ROOT, now)
    parts.append(in_order(pd.concat(alone)).astype(parts[0].dtypes))
    same = all(part.equals(parts[0]) for part in parts)
    once, before, each = statistics.mean(now), statistics.mean(then), sum(single)
    answers = len(parts[0])
    targets = {
        f"the same records in all of them: {'yes' if same else 'NO'}": same,
        f"at least 5 times as quick as one job per seed: {each / once:.1f}": each / once >= 5,
        f"at least twice as quick as {EARLIER}: {before / once:.1f}": before / once >= 2,
    }
    rows = {
        "one job for all seeds": once,
        "one job per seed, one after the other": each,
        f"one job for all seeds at {EARLIER}": before,
    }
    lines = [
        "# One evaluation job per model, or one per seed",
        "",
        f"`make bench-evaluation` on {os.cpu_count()} cores: a random model of the demo's size, its five synthetic "
        f"benchmarks, {len(SEEDS)} trials, {answers} answers. Whole processes, from the start to the records. In "
        "the order now, four single ones, earlier, now, earlier, four single ones, now: "
        f"{', '.join(f'{seconds:.0f}' for seconds in now)} s now, {', '.join(f'{seconds:.0f}' for seconds in then)} s "
        "earlier.",
        "",
        "| | seconds | answers per second |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {seconds:.0f} | {answers / seconds:.1f} |" for name, seconds in rows.items()),
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
