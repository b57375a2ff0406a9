"""A whole experiment, as small as verl, vLLM and evalscope allow: for the tests that run it from end to end."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from egpo.common.paths import ROOT

STEPS = 4
SMALL = {
    "note": "Synthetic, of the tests: these numbers mean nothing.",
    "backbones": ["minute"],
    "methods": ["egpo"],
    "main_method": "egpo",
    "define": {
        "backbones": {
            "minute": {
                "label": "minute (synthetic)",
                "thinks": True,
                "source": {
                    "kind": "synthetic",
                    "num_hidden_layers": 2,
                    "hidden_size": 64,
                    "num_attention_heads": 2,
                    "warm_up": {
                        "steps": 20,
                        "batch_size": 8,
                        "learning_rate": 1e-3,
                        # An untaught model: what is tested here is the line, not the learning.
                        "pass_rate": [0, 1],
                        "group_share": 0,
                    },
                },
                "max_model_len": 512,
                "max_prompt_length": 256,
                "max_response_length": 16,
                "max_evaluation_length": 16,
            }
        },
        "benchmarks": {
            name: {
                "label": name,
                "adapter": adapter,
                "source": {"kind": "synthetic", "seed": 3, "templates": templates},
                "num_questions": 10,
                "num_fewshot": 0,
            }
            for name, adapter, templates in (("few-sums", "math_500", "sums"), ("few-stories", "gsm8k", "stories"))
        },
    },
    "benchmarks": ["few-sums", "few-stories"],
}

SNAKEMAKE = Path(sys.executable).with_name("snakemake")
STARTED: list[subprocess.Popen] = []


def start(target: str, configuration: str, *more: str) -> subprocess.Popen:
    """Snakemake in the repository. It is ended with the test, and its local jobs with it (conftest.py)."""
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [SNAKEMAKE, target, "--configfile", configuration, *more]
    STARTED.append(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, **output))
    return STARTED[-1]


def end_started() -> None:
    """End what a test that failed has left running."""
    while STARTED:
        run = STARTED.pop()
        run.kill()
        run.wait()


def forget_training(results: Path) -> None:
    """Remove what the training and all that follows from it have made."""
    for folder in ("train", "evaluate/minute/egpo", "uncertainty/minute/egpo", "tables", "figures"):
        shutil.rmtree(results / folder, ignore_errors=True)


def write(name: str, file: Path, steps: int = STEPS, milestones: int = 0, **jobs: dict[str, Any]) -> str:
    """The configuration of an experiment of this name, in `file`; `jobs` are laid over the demo's."""
    values = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text()) | SMALL | {"experiment": name}
    values["uncertainty"] = {"rollouts_per_prompt": 2, "problems_per_shard": 4}
    values["data"] |= {
        "heldout_rows": 6,
        "tokenizer": "minute",
        "source": {"kind": "standin", "seed": 7, "default_rows": 300, "extended_rows": 100},
        "quotas": {"default_mixed": 40, "default_correct": 20, "extended_mixed": 5, "extended_correct": 5},
        "validation_rows": 6,
    }
    values["training"] |= {
        "train_batch_size": 8,
        "rollouts_per_prompt": 4,
        "total_training_steps": steps,
        "save_freq": 1,
        "test_freq": 4,
        "milestones": milestones,
    }
    values["evaluation"] |= {"seeds": [1, 2], "milestones": {"benchmarks": ["few-sums"], "seeds": [1]}}
    for job, needs in jobs.items():
        values["jobs"][job] |= needs
    file.write_text(yaml.safe_dump(values))
    return str(file)
