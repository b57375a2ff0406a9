"""How long the same work took in earlier jobs, of this experiment or of any other under results/."""

from __future__ import annotations

import csv
import statistics
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from egpo.cli.plan.dry_run import Job
from egpo.cli.wildcards import SEED, existing
from egpo.common.files import read_json
from egpo.common.paths import Paths
from egpo.config.backbones import Backbone
from egpo.config.data import Data
from egpo.config.evaluation import Evaluation
from egpo.config.methods import Method
from egpo.config.training import Training
from egpo.training.progress import read_lines
from egpo.training.settings import ROLLOUT

BROKEN = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, yaml.YAMLError)
EVERY = Paths("{experiment}")
VALUES = {"seed": SEED, "step": SEED}


def _read(file: Path, read: Callable[[Path], list[float]]) -> list[float]:
    """The seconds that `read` finds in a file. One that is damaged, or of another version, does not count."""
    try:
        return read(file)
    except BROKEN as error:
        _say_skipped(file, f"{type(error).__name__}: {error}")
        return []


@cache
def _say_skipped(file: Path, reason: str) -> None:
    """Once for each file, which several jobs may ask for."""
    print(f"warning: {file} or a file beside it is damaged ({reason}), and no measurement here.", file=sys.stderr)


def _median(seconds: list[float]) -> float | None:
    return statistics.median(seconds) if seconds else None


def step_settings(training: Training, method: Method, backbone: Backbone) -> dict[str, Any]:
    """The settings of verl that decide how long a step takes, by their names in verl.yaml."""
    return {
        "data.train_batch_size": training.train_batch_size,
        "data.max_prompt_length": backbone.max_prompt_length,
        "data.max_response_length": backbone.max_response_length,
        f"{ROLLOUT}.n": training.rollouts_per_prompt,
        "algorithm.filter_groups.enable": method.dynamic_sampling,
        "trainer.nnodes": training.nodes,
        "trainer.n_gpus_per_node": training.gpus_per_node,
        "trainer.device": training.platform,
    }


def step_seconds(backbone: str, settings: dict[str, Any]) -> float | None:
    """Median seconds of a step of the trainings of a backbone with these settings, finished or running.

    None without any. The machine is not compared: only whether it was a CPU or GPUs, and how many.
    """

    def of_training(file: Path) -> list[float]:
        config = OmegaConf.create(yaml.safe_load(file.read_text()))
        if any(OmegaConf.select(config, key) != value for key, value in settings.items()):
            return []
        done, running = file.with_name("metrics.jsonl"), file.parent / "work" / "metrics.jsonl"
        lines = read_lines(done if done.exists() else running)
        return [float(line["timing_s/step"]) for line in lines if "timing_s/step" in line]

    files = (file for file, _ in existing(EVERY.training(backbone) / "verl.yaml", VALUES))
    return _median([one for file in files for one in _read(file, of_training)])


def answer_settings(backbone: Backbone, evaluation: Evaluation) -> dict[str, Any]:
    """What decides how long an answer takes, by its names in an evaluation's manifest."""
    return {
        "max_tokens": backbone.max_evaluation_length,
        "max_model_len": backbone.max_model_len,
        "dtype": evaluation.dtype,
        "platform": evaluation.platform,
        "gpus": evaluation.gpus,
        "max_num_seqs": evaluation.max_num_seqs,
    }


def answer_seconds(backbone: str, settings: dict[str, Any]) -> float | None:
    """Median seconds per answer of the finished evaluations of a backbone with these settings; None without any."""

    def of_evaluation(file: Path) -> list[float]:
        manifest = read_json(file)
        found = manifest["settings"]["decoding"] | {key: manifest.get(key) for key in ("max_num_seqs", "gpus")}
        if "seconds" not in manifest or any(found.get(key) != value for key, value in settings.items()):
            return []
        return [manifest["seconds"] / sum(part["records"] for part in manifest["results"].values())]

    files = (file for file, _ in existing(EVERY.evaluation(backbone) / "manifest.json", VALUES))
    return _median([one for file in files for one in _read(file, of_evaluation)])


def _same_source(experiment: str, data: Data) -> bool:
    """Whether an experiment has the same source data; else its data jobs say nothing about this one's."""
    file = Paths(experiment).output("data_source")
    return file.exists() and read_json(file)["source"] == data.source.model_dump(mode="json")


def job_seconds(job: Job, data: Data) -> float | None:
    """Median seconds of the whole jobs of the same rule, for the same backbone or source data.

    From Snakemake's benchmark files. None without any.
    """
    if job.stage is None:
        return None
    same = {"backbone": job.wildcards["backbone"]} if "backbone" in job.wildcards else {}
    seconds: list[float] = []
    for file, wildcards in existing(EVERY.usage(job.rule, **same), VALUES):

        def of_job(usage: Path, experiment: str = wildcards["experiment"]) -> list[float]:
            return _seconds(usage) if same or _same_source(experiment, data) else []

        seconds += _read(file, of_job)
    return _median(seconds)


def _seconds(usage: Path) -> list[float]:
    with usage.open(newline="") as file:
        return [float(row["s"]) for row in csv.DictReader(file, delimiter="\t")]
