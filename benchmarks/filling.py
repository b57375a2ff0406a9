"""How well an evaluation fills a GPU: a made-up engine, real questions, evalscope's real scoring.

    make bench-filling       # needs ../shared/real

The engine waits as long as an H100 would, by the arithmetic of `egpo plan`, SPEED times as fast; all above it is the
code of an evaluation: of the commit BEFORE with 64 and with 512 requests, and of this one with 512. Writes
results/bench/filling.md; ends with code 1 if a target is missed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from earlier import source_of

from egpo.common.paths import ROOT
from egpo.config.files import read_yaml
from egpo.config.loader import load

OUT = ROOT / "results" / "bench"
REAL = ROOT.parent / "shared" / "real"
BEFORE = "37dc020"
BACKBONE = "deepseek-r1-1.5b"
SEEDS = (1, 2)
SPEED = 10
FOLDERS = {"mmlu_stem": "mmlu_stem", "minerva": "minerva_math"}  # where they differ from the benchmark's name
JOB = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from made_up_engine import MadeUpEngine
from egpo.config.backbones import Backbone
from egpo.config.benchmarks import Benchmark
from egpo.config.evaluation import Evaluation
from egpo.evaluation import run

a = json.loads(Path(sys.argv[1]).read_text())
backbone = Backbone.model_validate(a["backbone"])
MadeUpEngine.size, MadeUpEngine.answers, MadeUpEngine.speed = backbone.source.architecture, a["answers"], a["speed"]
MadeUpEngine.log = []
if hasattr(run, "Engines"):
    from egpo.inference import engines
    engines.Engine = MadeUpEngine
else:
    run.Engine = MadeUpEngine
benchmarks = {name: Benchmark.model_validate(values) for name, values in a["benchmarks"].items()}
folders = {name: Path(path) for name, path in a["folders"].items()}
settings, work = Evaluation.model_validate(a["settings"]), Path(a["out"])
trials = run.list_trials({"made up": ""}, backbone, benchmarks, folders, settings, work, "benchmark")
run.run_trials(trials, "made up", backbone, settings, lambda line: print(line, flush=True))
log = MadeUpEngine.log
busy = sum(seconds for seconds, _ in log)
print(json.dumps({"busy": busy, "flight": sum(s * n for s, n in log) / busy, "answers": sum(
    t.benchmark.num_questions for t in trials)}), flush=True)
"""


def arguments(max_num_seqs: int, out: Path) -> dict:
    catalogue = load(read_yaml(ROOT / "config/paper.yaml"), "config/paper.yaml")
    names = catalogue.experiment.benchmarks
    folders = {name: REAL / "benchmarks" / FOLDERS.get(name, name) for name in names}
    lines = (REAL / "answers" / "math500_qwen3_answers.json").read_text()
    return {
        "backbone": catalogue.backbones[BACKBONE].model_dump(mode="json"),
        "benchmarks": {
            name: catalogue.benchmarks[name].model_dump(mode="json")
            | {"source": {"kind": "local", "path": str(folders[name])}}
            for name in names
        },
        "folders": {name: str(folder) for name, folder in folders.items()},
        "settings": {"seeds": SEEDS, "platform": "cuda", "max_num_seqs": max_num_seqs},
        "answers": [one["prediction"] for one in json.loads(lines)],
        "speed": SPEED,
        "out": str(out),
    }


def measured(label: str, source: Path, max_num_seqs: int) -> dict:
    """Seconds, mean responses in flight and idle share of an evaluation with the code in `source`."""
    place = OUT / "filling"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "arguments.json").write_text(json.dumps(arguments(max_num_seqs, place / "work")))
    command = [sys.executable, "-c", JOB, str(place / "arguments.json"), str(ROOT / "benchmarks")]
    start = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(source / "src")}
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    seconds = time.monotonic() - start
    print(run.stdout[-2000:], flush=True)
    return {"label": label, "seconds": seconds, **json.loads(run.stdout.splitlines()[-1])}


def main() -> int:
    if not REAL.is_dir():
        sys.exit("make bench-filling: needs the real questions of ../shared/real")
    source = source_of(BEFORE, OUT / "before-filling")
    rows = [
        measured(f"{BEFORE}, 64 requests", source, 64),
        measured(f"{BEFORE}, 512 requests", source, 512),
        measured("now, 512 requests", ROOT, 512),
    ]
    gain = rows[0]["seconds"] / rows[-1]["seconds"]
    lines = [
        "# How well an evaluation fills a GPU",
        "",
        f"`make bench-filling` on {os.cpu_count()} cores: a made-up engine that waits as long as an H100 would for "
        f"{BACKBONE} by the arithmetic of `egpo plan`, {SPEED} times as fast; the five real benchmarks, {len(SEEDS)} "
        f"trials, {rows[0]['answers']} answers, scored by evalscope.",
        "",
        "| | seconds | mean requests in flight | share of the time in which the engine had none |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {row['label']} | {row['seconds']:.0f} | {row['busy'] * row['flight'] / row['seconds']:.0f} | "
            f"{1 - row['busy'] / row['seconds']:.0%} |"
            for row in rows
        ),
        "",
        f"At least 2.5 times as quick: {gain:.1f}: {'met' if gain >= 2.5 else 'MISSED'}",
    ]
    text = "\n".join(lines) + "\n"
    (OUT / "filling.md").write_text(text)
    print(text)
    return 0 if gain >= 2.5 else 1


if __name__ == "__main__":
    sys.exit(main())
