"""Where the warm-up of the synthetic backbones ends, for many seeds and roundings.

    make bench-warm-up

Each run is a process of its own with one or two threads and one of two sets of CPU instructions, so that sums are
rounded in another way. Writes results/bench/warm_up.md and its rows, warm_up.csv; ends with code 1 if a run ends out of
range.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from random import Random

import pandas as pd

from egpo.common.paths import ROOT

OUT = ROOT / "results" / "bench"
SETTINGS = [(threads, capability) for capability in ("avx2", "default") for threads in (2, 1)]
SEEDS = {"tiny-math": range(1, 13), "tiny-think": range(1, 5)}
QUESTIONS = 100  # with four options, in held-out wordings
COLUMNS = {
    "backbone": "backbone",
    "seed": "seed",
    "threads": "threads",
    "capability": "capability",
    "steps": "steps",
    "seconds": "seconds",
    "pass_rate": "pass rate",
    "mixed": "mixed",
    "entirely_correct": "entirely correct",
    "entirely_incorrect": "entirely incorrect",
    "letters": "letters right",
    "in_range": "in range",
}


def letters_right(model: object, tokenizer: object) -> float:
    """Share of right letters in sampled answers to questions in MMLU's format, of all levels alike."""
    from egpo.backbones.sampling import sample_responses
    from egpo.backbones.supervised import as_text
    from egpo.common.answer_letters import chosen_letter
    from egpo.synthetic.choices import LETTERS, choice_prompt, options
    from egpo.synthetic.problems import LEVELS, draw_problem

    rng = Random("letters")
    problems = [draw_problem(rng, "held-out", "sums", LEVELS[index % len(LEVELS)]) for index in range(QUESTIONS)]
    asked = [as_text(choice_prompt(problem), tokenizer) for problem in problems]
    responses = sample_responses(model, tokenizer, asked, 1, 64, seed=0)
    right = [LETTERS[options(problem)[1]] for problem in problems]
    return sum(chosen_letter(text) == letter for text, letter in zip(responses, right, strict=True)) / QUESTIONS


def run_here(name: str, seed: int) -> None:
    """One warm-up in this process; its last line on standard output is the result."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    from egpo.config.backbones import Backbone
    from egpo.config.files import read_yaml
    from egpo.synthetic.backbone import warm_up
    from egpo.synthetic.tokenizer import make_tokenizer

    entry = read_yaml(ROOT / "config" / "backbones.yaml")[name]
    entry["source"]["seed"] = seed
    backbone = Backbone.model_validate(entry)
    tokenizer = make_tokenizer(backbone.thinks, seed, backbone.max_model_len)
    start = time.monotonic()
    model, outcome = warm_up(backbone, tokenizer, print)
    seconds = time.monotonic() - start
    capability = torch.backends.cpu.get_cpu_capability()
    found = {"steps": outcome.steps, "seconds": seconds, "used": capability, **outcome.shares}
    print(json.dumps({**found, "letters": letters_right(model, tokenizer), "in_range": not outcome.missing}))


def run(name: str, seed: int, threads: int, capability: str) -> dict:
    """One warm-up in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "ATEN_CPU_CAPABILITY": capability}
    command = [sys.executable, __file__, name, str(seed)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    found = json.loads(done.stdout.splitlines()[-1])
    return {"backbone": name, "seed": seed, "threads": threads, "capability": capability, **found}


def processor() -> str:
    """The CPU's name, as Linux knows it."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else platform.processor()


def as_cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def main() -> int:
    rows: list[dict] = []
    OUT.mkdir(parents=True, exist_ok=True)
    for name, seeds in SEEDS.items():
        for seed in seeds:
            rows.append(run(name, seed, *SETTINGS[seed % len(SETTINGS)]))
            print({key: rows[-1][key] for key in COLUMNS}, flush=True)
            pd.DataFrame(rows).to_csv(OUT / "warm_up.csv", index=False)
    lines = [
        "# Where the warm-up ends",
        "",
        f"`make bench-warm-up` on {date.today()}, {os.cpu_count()} cores of {processor()}. Seconds are of the training "
        "and its measurements, without imports.",
        "",
        "| " + " | ".join(COLUMNS.values()) + " |",
        "| --- | ---: | ---: | --- |" + " ---: |" * (len(COLUMNS) - 5) + " --- |",
    ]
    for row in rows:
        cells = {**row, "seconds": round(row["seconds"])}
        lines.append("| " + " | ".join(as_cell(cells[key]) for key in COLUMNS) + " |")
    text = "\n".join(lines) + "\n"
    (OUT / "warm_up.md").write_text(text)
    print(text)
    return 0 if all(row["in_range"] for row in rows) else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_here(sys.argv[1], int(sys.argv[2]))
    else:
        sys.exit(main())
