"""What the long jobs take: as an earlier run measured it, else by arithmetic. Nothing here was measured on a GPU."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from egpo.common.files import read_json
from egpo.config.backbones import Architecture, Backbone
from egpo.config.evaluation import Evaluation
from egpo.config.methods import Method
from egpo.config.training import Training
from egpo.training.checkpoints import KEPT
from egpo.training.memory import BF16, FP32, GIB, estimate
from egpo.training.progress import read_lines
from egpo.training.settings import ROLLOUT, micro_batch_tokens

PEAK, BANDWIDTH = 989e12, 3.35e12  # dense bf16 FLOP/s and bytes/s of an H100 SXM: the vendor's data sheet
# By judgement, as nothing was measured:
UTILISATION = 0.3  # of the peak, in updates and log-probabilities, recomputed activations included
READING = 0.5  # of the bandwidth, in decoding
TOKEN_SECONDS = 0.005  # of vLLM around each token of a batch, whatever the model
PROMPT_TOKENS = 256  # mean length of a prompt
LENGTH = 0.5  # mean length of a response, as a share of its limit
DYNAMIC = 2  # rollout batches that dynamic sampling generates for a step
TOKEN_BYTES = 16  # on disk, of an answered token: text and log-probability
TINY_GIB = 0.1  # on disk, of a training of a synthetic model
SOURCE_GIB = {"hub": 10, "standin": 1, "local": 1, "problems": 1}  # of source, pool and what is made between them

ASSUMPTIONS = f"""a guess that no run was held against, for H100 ({PEAK / 1e12:.0f} TFLOP/s, {BANDWIDTH / 1e12} TB/s):
- an update takes 6 P and log-probabilities 2 P FLOPs a token (P: parameters), at {UTILISATION:.0%} of the peak
- for each further token of a batch, decoding reads the weights, 2 P bytes, and the cache of every response, at
  {READING:.0%} of the bandwidth, and takes {1000 * TOKEN_SECONDS:.0f} ms more
- a batch is all of a GPU's rollouts, as far as its cache holds them, or evaluation.max_num_seqs
- responses have {LENGTH:.0%} of their limit on average, the longest all of it; prompts {PROMPT_TOKENS} tokens
- dynamic sampling generates {DYNAMIC} batches a step
- an A100 takes 1.6 times as long to decode, and 3.2 times to update, by its data sheet"""


def wanted(training: Training, method: Method, backbone: Backbone) -> dict[str, Any]:
    """The settings of verl's that decide how long a step takes, by their names in verl.yaml."""
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


def measured_step(results: Path, name: str, like: dict[str, Any]) -> float | None:
    """Median seconds a step of the trainings of backbone `name`, in any experiment, with the settings `like`.

    Of those under way too; None if there are none. The machine is not compared: only whether it was a CPU or GPUs,
    and how many.
    """
    seconds: list[float] = []
    for settings in results.glob(f"*/train/{name}/*/seed-*/verl.yaml"):
        done, under_way = settings.with_name("metrics.jsonl"), settings.parent / "work" / "metrics.jsonl"
        file = done if done.exists() else under_way
        config = OmegaConf.create(yaml.safe_load(settings.read_text()))
        if all(OmegaConf.select(config, key) == value for key, value in like.items()):
            lines = read_lines(file)
            seconds += [line["timing_s/step"] for line in lines if "timing_s/step" in line]
    return statistics.median(seconds) if seconds else None


def decode_seconds(size: Architecture, responses: float, mean: float, tokens: float) -> float:
    """Of one GPU. responses: how many, of `mean` tokens; tokens: how often it makes one more of every response."""
    cache = 2 * BF16 * size.num_hidden_layers * size.kv_width
    read = tokens * BF16 * size.parameters + responses * mean * (PROMPT_TOKENS + mean / 2) * cache
    return read / (READING * BANDWIDTH) + tokens * TOKEN_SECONDS


def step_seconds(size: Architecture, backbone: Backbone, training: Training, method: Method) -> float:
    """One step of a training on GPUs, by ASSUMPTIONS."""
    gpus = training.nodes * training.gpus_per_node
    mean = LENGTH * backbone.max_response_length
    responses = training.train_batch_size * training.rollouts_per_prompt / gpus
    update = 8 * size.parameters * responses * (PROMPT_TOKENS + mean) / (UTILISATION * PEAK)
    memory = estimate(size, backbone, training, micro_batch_tokens(backbone))
    at_once = max(memory.kv_tokens, memory.longest_tokens) / (PROMPT_TOKENS + mean / 2)
    rounds = max(1.0, responses / at_once)
    decode = decode_seconds(size, responses, mean, rounds * backbone.max_response_length)
    return update + decode * (DYNAMIC if method.dynamic_sampling else 1)


def answer_seconds(size: Architecture, backbone: Backbone, evaluation: Evaluation, answers: int) -> float:
    """`answers` responses of an evaluation, or of the rollouts, on GPUs, by ASSUMPTIONS."""
    mean = LENGTH * backbone.max_evaluation_length
    return decode_seconds(size, answers, mean, answers * mean / evaluation.max_num_seqs) / evaluation.gpus


def measured_answer(results: Path, name: str, like: dict[str, Any]) -> float | None:
    """Median seconds an answer of the finished evaluations of backbone `name`, with the decoding `like`, as above."""
    seconds: list[float] = []
    for file in results.glob(f"*/evaluate/{name}/*/seed-*/manifest.json"):
        manifest = read_json(file)
        made = manifest["settings"]["decoding"] | {"max_num_seqs": manifest.get("max_num_seqs")}
        if "seconds" in manifest and all(made.get(key) == value for key, value in like.items()):
            seconds.append(manifest["seconds"] / sum(part["records"] for part in manifest["results"].values()))
    return statistics.median(seconds) if seconds else None


def wanted_answers(backbone: Backbone, evaluation: Evaluation) -> dict[str, Any]:
    """What decides how long an answer takes, by its names in an evaluation's manifest."""
    return {
        "max_tokens": backbone.max_evaluation_length,
        "max_model_len": backbone.max_model_len,
        "dtype": evaluation.dtype,
        "platform": evaluation.platform,
        "gpus": evaluation.gpus if evaluation.platform == "cuda" else 0,
        "max_num_seqs": evaluation.max_num_seqs,
    }


def checkpoint_gib(size: Architecture) -> float:
    """Weights, two moments of Adam and the model to export, all in fp32."""
    return 4 * FP32 * size.parameters / GIB


def training_gib(size: Architecture | None) -> float:
    """What a training leaves on disk: the checkpoints that are kept, and its model."""
    return TINY_GIB if size is None else KEPT * checkpoint_gib(size) + FP32 * size.parameters / GIB


def lying_gib(folder: Path) -> float:
    """What the files in a folder, if it is there, take already."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / GIB


def answers_gib(backbone: Backbone, answers: int) -> float:
    return answers * LENGTH * backbone.max_evaluation_length * TOKEN_BYTES / GIB
