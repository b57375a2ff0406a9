"""How well an evaluation fills a GPU: a made-up engine, real questions, evalscope's real scoring.

    make bench-filling       # needs ../shared/real

The engine waits as long as an H100 would, by the arithmetic of `egpo plan`, SPEED times as fast. All above it is the
code of an evaluation: this one with each trial on its own and at most 64 requests; that of the commit BEFORE, which
asks the next trial ahead, with 64; and this one with 512. What is compared are hours of the GPU: SPEED times the
engine's seconds, and the rest as measured (imports, and what was scored after the last answer). How much is won
depends on the lengths of the responses: a second table has the same orders by arithmetic alone, for several. Writes
results/bench/filling.md; ends with code 1 if the target is missed.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from earlier import source_of
from made_up_engine import drawn_length

from egpo.cli.plan.cost import BANDWIDTH, PROMPT_TOKENS, READING, decode_seconds
from egpo.common.paths import ROOT
from egpo.config.backbones import Architecture
from egpo.config.experiment import Catalogue
from egpo.config.files import read_yaml
from egpo.config.loader import load
from egpo.training.memory import BF16

OUT = ROOT / "results" / "bench"
REAL = ROOT.parent / "shared" / "real"
BEFORE = "37dc020"
BACKBONE = "deepseek-r1-1.5b"
SEEDS = (1, 2, 3, 4)
SPEED = 40
MEAN = 0.2  # mean length of a response, as a share of the limit
MEANS = (0.05, 0.1, 0.2, 0.5)
TRIALS = 8  # of the second table: the paper's
TARGET = 2.5
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
MadeUpEngine.mean = a["mean"] * backbone.max_evaluation_length
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
for part in ([trial] for trial in trials) if a["alone"] else [trials]:
    run.run_trials(part, "made up", backbone, settings, lambda line: print(line, flush=True))
log = MadeUpEngine.log
busy = sum(seconds for seconds, _ in log)
print(json.dumps({"busy": busy, "flight": sum(s * n for s, n in log) / busy, "answers": sum(
    t.benchmark.num_questions for t in trials)}), flush=True)
"""


def paper() -> Catalogue:
    return load(read_yaml(ROOT / "config/paper.yaml"), "config/paper.yaml")


def arguments(max_num_seqs: int, alone: bool, out: Path) -> dict:
    catalogue = paper()
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
        "mean": MEAN,
        "alone": alone,
        "out": str(out),
    }


def measured(label: str, source: Path, max_num_seqs: int, alone: bool = False) -> dict:
    """Seconds, mean responses in flight and idle share of an evaluation with the code in `source`.

    Args:
        alone: each trial only when the one before it has ended.
    """
    place = OUT / "filling"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "arguments.json").write_text(json.dumps(arguments(max_num_seqs, alone, place / "work")))
    command = [sys.executable, "-c", JOB, str(place / "arguments.json"), str(ROOT / "benchmarks")]
    start = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(source / "src")}
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    seconds = time.monotonic() - start
    print(run.stdout[-2000:], flush=True)
    row = {"label": label, "seconds": seconds, **json.loads(run.stdout.splitlines()[-1])}
    row["rest"] = seconds - row["busy"]
    row["hours"] = (row["busy"] * SPEED + row["rest"]) / 3600
    return row


def hours(size: Architecture, queues: list[list[int]], most: int) -> float:
    """Hours of decoding, queue after queue, by egpo.cli.plan.cost.

    Args:
        queues: tokens of each response.
        most: responses in flight.
    """
    seconds = 0.0
    for queue in queues:
        waiting, flight, step = queue[::-1], [], 0
        while waiting or flight:
            while waiting and len(flight) < most:
                tokens = waiting.pop()
                heapq.heappush(flight, (step + tokens, tokens))
            steps = flight[0][0] - step
            held = sum(tokens - (end - step) + steps / 2 for end, tokens in flight)  # tokens of responses, on average
            seconds += decode_seconds(size, 1, 0, steps) + steps * reading(size, held + PROMPT_TOKENS * len(flight))
            step += steps
            while flight and flight[0][0] <= step:
                heapq.heappop(flight)
    return seconds / 3600


def reading(size: Architecture, tokens: float) -> float:
    """Seconds in which a step reads the cache of these tokens."""
    return tokens * 2 * BF16 * size.num_hidden_layers * size.kv_width / (READING * BANDWIDTH)


def by_arithmetic(share: float) -> str:
    """A line of the second table, for a mean length."""
    catalogue, rng = paper(), random.Random(1)
    backbone = catalogue.backbones[BACKBONE]
    limit, size = backbone.max_evaluation_length, backbone.source.architecture
    counts = [
        catalogue.benchmarks[name].num_questions for name in catalogue.experiment.benchmarks for _ in range(TRIALS)
    ]
    trials = [[drawn_length(rng, share * limit, limit) for _ in range(count)] for count in counts]
    together = [[tokens for trial in trials for tokens in trial]]
    alone, queue, now = hours(size, trials, 64), hours(size, together, 64), hours(size, together, 512)
    return f"| {share:.0%} | {alone:.1f} | {queue:.1f} | {now:.1f} | {alone / now:.1f} |"


def main() -> int:
    if not REAL.is_dir():
        sys.exit("make bench-filling: needs the real questions of ../shared/real")
    source = source_of(BEFORE, OUT / "before-filling")
    rows = [
        measured("each trial on its own, 64 requests", ROOT, 64, alone=True),
        measured(f"{BEFORE}, 64 requests", source, 64),
        measured("now, 512 requests", ROOT, 512),
    ]
    gain = rows[0]["hours"] / rows[-1]["hours"]
    lines = [
        "# How well an evaluation fills a GPU",
        "",
        f"`make bench-filling` on {os.cpu_count()} cores: a made-up engine that waits as long as an H100 would for "
        f"{BACKBONE} by the arithmetic of `egpo plan`, {SPEED} times as fast, responses of {MEAN:.0%} of the limit "
        f"on average; the five real benchmarks, {len(SEEDS)} trials, {rows[0]['answers']} answers, scored by "
        "evalscope.",
        "",
        "| | seconds | of these without a request | mean requests in flight | hours at its own speed |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {row['label']} | {row['seconds']:.0f} | {row['rest']:.0f} | {row['flight']:.0f} | {row['hours']:.2f} |"
            for row in rows
        ),
        "",
        f"At least {TARGET} times as quick: {gain:.1f}: {'met' if gain >= TARGET else 'MISSED'}",
        "",
        f"By arithmetic alone, hours of an H100 for {TRIALS} trials, without scoring:",
        "",
        "| mean length, share of the limit | each trial on its own, 64 | one queue, 64 | one queue, 512 | gain |",
        "| ---: | ---: | ---: | ---: | ---: |",
        *(by_arithmetic(share) for share in MEANS),
    ]
    text = "\n".join(lines) + "\n"
    (OUT / "filling.md").write_text(text)
    print(text)
    return 0 if gain >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
