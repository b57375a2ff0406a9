"""Made-up results of a small experiment: everything that tables, figures and the report are made from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from recorded_runs import write_run

from egpo.analysis.learning import VALIDATION
from egpo.common.files import write_json, write_text
from egpo.common.paths import BASE, ROOT, Paths, wildcards_of
from egpo.config.experiment import Catalogue
from egpo.config.files import read_yaml
from egpo.config.loader import load
from egpo.config.matrix import benchmarks_of, diagnosed_models, evaluated_milestones, evaluated_models, trained_models
from egpo.data.funnel import funnel, markdown
from egpo.evaluation.records import SCHEMA
from egpo.inference.decoding import METADATA
from egpo.training.measured import DIFFERENCE
from egpo.training.progress import REWARD
from egpo.uncertainty import rollouts

MADE = {
    "temperature": 0.6,
    "top_p": 0.95,
    "top_k": 20,
    "max_tokens": 64,
    "max_model_len": 512,
    "dtype": "float32",
    "evalscope": "1.14.1",
    "vllm": "0.28.0",
}
ITEMS = 10
END, STOP = 4, 2  # tokens: </think> and the end of a response


def benchmarks(**labels: str) -> dict[str, Any]:
    """Entries of `define.benchmarks` with ITEMS questions each."""
    source = {"kind": "synthetic", "seed": 1, "templates": "sums"}
    entry = {"adapter": "gsm8k", "source": source, "num_questions": ITEMS, "num_fewshot": 0}
    return {name: {"label": label, **entry} for name, label in labels.items()}


def small_catalogue(**changes: Any) -> Catalogue:
    """Two backbones, one with thoughts, three methods, two training seeds, an ablation and a further model."""
    values = read_yaml(ROOT / "config" / "demo.yaml") | {
        "experiment": "made-up",
        "backbones": ["tiny-math", "tiny-think"],
        "methods": ["grpo", "dapo", "egpo"],
        "training_seeds": [1, 2],
        "benchmarks": ["one", "two"],
        "define": {"benchmarks": benchmarks(one="ONE_1", two="TWO & 2")},
        "ablations": {"backbone": "tiny-think", "methods": ["c1"], "benchmarks": ["one"]},
        "extra_models": {"mine": {"model": "somebody/a-model", "like": "tiny-math", "label": "A model"}},
    }
    values["training"] |= {"total_training_steps": 16, "milestones": 2}
    values["evaluation"] |= {"seeds": [1, 2], "milestones": {"seeds": [1]}}
    values["data"]["heldout_rows"] = 60
    return load(values | changes, "test")


def write_records(path: Path, right: dict[str, tuple[int, ...]], overflow: int = 0) -> Path:
    """Records of ITEMS questions and two trials; right: how many of the first questions are right in each."""
    rows = [
        {
            "benchmark": benchmark,
            "subset": "main",
            "question": question,
            "trial": trial,
            "seed": trial,
            "correct": question < counts[trial - 1],
            "status": "overflow" if question >= ITEMS - overflow else "scored",
            "truncated": question == 9,
            "prompt_tokens": 500 if question == 8 else 50,  # of a context of 512, with 64 for the answer
            "response_tokens": 10 * question,
            "extracted": "7" if question < counts[trial - 1] else "x" if question == 7 else None,
            "target": "7",
            "verified": question < counts[trial - 1] or question == 7,
            "response": f"it is {question}",
        }
        for benchmark, counts in right.items()
        for question in range(ITEMS)
        for trial in range(1, len(counts) + 1)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({METADATA: json.dumps(MADE).encode()}))
    pq.write_table(table, path)
    return path


def write_references(path: Path, names: Iterable[str]) -> Path:
    """Verdicts on references: evalscope refuses the first question's own, and takes the second's shuffled one."""
    rows = [
        {
            "benchmark": name,
            "subset": "main",
            "question": question,
            "trial": trial,
            "correct": question != 0 if trial == 1 else question == 1,
            "status": "excluded" if (question, trial) == (0, 1) else "scored",
            "target": "7",
            "verified": trial == 1,
        }
        for name in names
        for question in range(ITEMS)
        for trial in (1, 2)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    return path


def write_rollouts(path: Path, end: int | None, right: dict[int, int], trials: int = 2) -> Path:
    """right: how many of each problem's responses are correct."""
    rows = [
        {
            "problem": problem,
            "uuid": f"u{problem}",
            "trial": trial,
            "seed": trial,
            "correct": trial <= count,
            "truncated": trial == 2,
            "prompt_tokens": 5,
            "tokens": [9, END, 7, STOP] if trial == 1 else [9, 8],
            "logprobs": [-1.0, -2.0, -3.0, -6.0] if trial == 1 else [-1.0, -2.0],
            "response": f"it is {problem} ```",
        }
        for problem, count in right.items()
        for trial in range(1, trials + 1)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {rollouts.METADATA: json.dumps({"end_of_thought": end}).encode()}
    pq.write_table(pa.Table.from_pylist(rows, schema=rollouts.SCHEMA.with_metadata(metadata)), path)
    return path


def write_problems(path: Path, count: int) -> Path:
    """Held-out problems, as far as the case study reads them."""
    problems = [
        {"prompt": [{"role": "user", "content": f"question {n}"}], "reward_model": {"ground_truth": str(n)}}
        for n in range(count)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(problems), path)
    return path


def planted(signal: float, seed: int, problems: int = 60, trials: int = 8) -> pd.DataFrame:
    """Measures of rollouts: correctness depends on the problem, entropy on the problem and on the outcome."""
    rng = np.random.default_rng(seed)
    hard = np.repeat(rng.random(problems), trials)
    correct = rng.random(problems * trials) > hard
    shift = np.repeat(rng.normal(size=problems), trials)
    response = np.exp(0.3 * (shift + rng.normal(size=len(hard)) + signal * ~correct) - 2)
    return pd.DataFrame(
        {
            "problem": np.repeat(np.arange(problems), trials),
            "uuid": np.repeat([f"u{n}" for n in range(problems)], trials),
            "trial": np.tile(np.arange(1, trials + 1), problems),
            "correct": correct,
            "truncated": False,
            "response": response,
            "thinking": response,
            "answer": np.exp(np.log(response) + 0.3 * signal * ~correct),
            "response_tokens": 40,
            "thinking_tokens": 25,
            "answer_tokens": rng.integers(3, 15, len(hard)),
            "ended": True,
        }
    )


def write_metrics(path: Path, rewards: list[float], **more: float) -> Path:
    """metrics.jsonl of a training; more: what every step has beside its reward."""
    lines = [{"step": 0, VALIDATION: 0.25}]
    lines += [{"step": step, REWARD: reward, **more} for step, reward in enumerate(rewards, 1)]
    lines[-1][VALIDATION] = 0.75
    write_text(path, "\n".join(json.dumps(line) for line in lines))
    return path


def write_results(catalogue: Catalogue) -> None:
    """Write the results of an experiment into the working directory, as far as entries of the report read them."""
    paths, data = Paths(catalogue.experiment.experiment), catalogue.experiment.data
    reasons = np.array(["", "long-prompt", "no-answer", ""])[np.arange(400) % 4]
    flags = pd.DataFrame({"subset": "default", "bucket": np.tile(["mixed", "correct"], 200), "source": "a"})
    flags["reason"] = reasons
    paths.data.mkdir(parents=True, exist_ok=True)
    flags.to_parquet(paths.data / "flags.parquet")
    flags.to_parquet(paths.data / "train.parquet")
    counts = funnel(flags, ["long-prompt", "no-answer"])
    counts.to_csv(paths.output("data_card", "funnel"), index=False)
    write_text(paths.output("data_card", "table"), markdown(counts, {}, "A note."))
    write_json(paths.data / "manifest.json", {"settings_hash": "5e77", "code": "c0de"})
    write_references(paths.output("score_references"), catalogue.experiment.benchmarks)
    if data.heldout_rows:
        write_problems(paths.heldout, data.heldout_rows)
    for number, model in enumerate(sorted(evaluated_models(catalogue.experiment))):
        backbone, method, _ = model
        folders = [paths.evaluation(*model)]
        counts = {"one": (number % 7, (number + 3) % 10), "two": ((3 * number) % 9, (5 * number) % 10)}
        right = {name: counts[name] for name in benchmarks_of(catalogue.experiment, method)}
        write_records(folders[0] / "records.parquet", right, overflow=number % 2)
        if model in trained_models(catalogue.experiment):
            folders.append(paths.training(*model))
            rewards = [math.sin(number + step / 5) for step in range(16)]
            apart = 0.3 if method == catalogue.experiment.main_method else 0.001
            more = {"egpo/groups/mixed": number / 20, DIFFERENCE: apart}
            write_metrics(folders[-1] / "metrics.jsonl", rewards, **more)
            write_run(folders[-1], catalogue.methods[method], steps=3, seed=model[2])
        if model in diagnosed_models(catalogue.experiment):
            folders.append(paths.rollouts(*model))
            thinks = catalogue.backbones[backbone].thinks
            solved = {problem: 0 if method == BASE else (problem + number) % 3 for problem in range(data.heldout_rows)}
            write_rollouts(folders[-1] / "rollouts.parquet", END if thinks else None, solved)
            table = planted(number / 10, number)
            if thinks:
                table.loc[:2, ["answer", "ended"]] = (math.nan, False)
            table.to_parquet(folders[-1] / "measures.parquet")
        for folder in folders:
            write_json(folder / "manifest.json", {"settings_hash": f"{number:04d}", "code": "c0de"})
    for number, milestone in enumerate(evaluated_milestones(catalogue.experiment)):
        file = paths.output("evaluate_milestone", "records", **wildcards_of(milestone))
        write_records(file, {"one": ((2 * number) % 7,), "two": ((3 * number) % 9,)})
        write_json(file.with_name("manifest.json"), {"settings_hash": f"m{number:03d}", "code": "c0de"})
