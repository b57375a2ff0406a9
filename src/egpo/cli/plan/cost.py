"""What the long jobs take on GPUs and on disk, by arithmetic, not compared with any run."""

from __future__ import annotations

from pathlib import Path

from egpo.config.backbones import Architecture, Backbone
from egpo.config.evaluation import Evaluation
from egpo.config.methods import Method
from egpo.config.training import Training
from egpo.training.checkpoints import KEPT
from egpo.training.fit import longest
from egpo.training.memory import BF16, FP32, GIB, estimate

PEAK, BANDWIDTH = 989e12, 3.35e12  # dense bf16 FLOP/s and bytes/s of an H100 SXM: the vendor's data sheet
# By judgement:
UTILISATION = 0.3  # of the peak, in updates and log-probabilities, recomputed activations included
READING = 0.5  # of the bandwidth, in decoding
TOKEN_SECONDS = 0.005  # of vLLM around each token of a batch, whatever the model
PROMPT_TOKENS = 256  # mean length of a prompt
LENGTH = 0.5  # mean length of a response, as a share of its limit
DYNAMIC = 2  # rollout batches that dynamic sampling generates for a step
TOKEN_BYTES = 16  # on disk, of an answered token: text and log-probability
TINY_GIB = 0.1  # on disk, of a training of a synthetic model
SOURCE_GIB = {"hub": 10, "standin": 1, "local": 1, "problems": 1}  # of source, pool and what is made between them

ASSUMPTIONS = f"""a guess, not compared with any run, for H100 ({PEAK / 1e12:.0f} TFLOP/s, {BANDWIDTH / 1e12} TB/s):
- an update takes 6 P and log-probabilities 2 P FLOPs a token (P: parameters), at {UTILISATION:.0%} of the peak
- for each further token of a batch, decoding reads the weights, 2 P bytes, and the cache of every response, at
  {READING:.0%} of the bandwidth, and takes {1000 * TOKEN_SECONDS:.0f} ms more
- a batch is all of a GPU's rollouts, as far as its cache holds them, or evaluation.max_num_seqs
- responses have {LENGTH:.0%} of their limit on average, the longest all of it; prompts {PROMPT_TOKENS} tokens
- dynamic sampling generates {DYNAMIC} batches a step
- an A100 takes 1.6 times as long to decode, and 3.2 times to update, by its data sheet"""


def decode_seconds(size: Architecture, responses: float, mean: float, tokens: float) -> float:
    """Seconds of decoding on one GPU.

    Args:
        size: of the model.
        responses: their number.
        mean: their mean length in tokens.
        tokens: how many tokens it generates one after the other.
    """
    cache = 2 * BF16 * size.num_hidden_layers * size.kv_width
    read = tokens * BF16 * size.parameters + responses * mean * (PROMPT_TOKENS + mean / 2) * cache
    return read / (READING * BANDWIDTH) + tokens * TOKEN_SECONDS


def step_seconds(size: Architecture, backbone: Backbone, training: Training, method: Method) -> float:
    """Seconds of one step of a training on GPUs, by ASSUMPTIONS."""
    gpus = training.nodes * training.gpus_per_node
    mean = LENGTH * backbone.max_response_length
    responses = training.train_batch_size * training.rollouts_per_prompt / gpus
    update = 8 * size.parameters * responses * (PROMPT_TOKENS + mean) / (UTILISATION * PEAK)
    memory = estimate(size, backbone, training, longest(backbone))
    at_once = max(memory.kv_tokens, memory.longest_tokens) / (PROMPT_TOKENS + mean / 2)
    rounds = max(1.0, responses / at_once)
    decode = decode_seconds(size, responses, mean, rounds * backbone.max_response_length)
    return update + decode * (DYNAMIC if method.dynamic_sampling else 1)


def answer_seconds(size: Architecture, backbone: Backbone, evaluation: Evaluation, answers: int) -> float:
    """Seconds of `answers` responses of an evaluation, or of the rollouts, on GPUs, by ASSUMPTIONS."""
    mean = LENGTH * backbone.max_evaluation_length
    return decode_seconds(size, answers, mean, answers * mean / evaluation.max_num_seqs) / evaluation.gpus


def checkpoint_gib(size: Architecture) -> float:
    """Weights, two moments of Adam and the model to export, all in fp32."""
    return 4 * FP32 * size.parameters / GIB


def training_gib(size: Architecture | None) -> float:
    """What a training leaves on disk: the checkpoints that are kept, and its model. size: None for a synthetic one."""
    return TINY_GIB if size is None else KEPT * checkpoint_gib(size) + model_gib(size)


def model_gib(size: Architecture | None) -> float:
    """An exported model. size: None for a synthetic one, which TINY_GIB contains."""
    return 0.0 if size is None else FP32 * size.parameters / GIB


def present_gib(folder: Path) -> float:
    """What the files in a folder take already; 0 without it."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / GIB


def answers_gib(backbone: Backbone, answers: int) -> float:
    return answers * LENGTH * backbone.max_evaluation_length * TOKEN_BYTES / GIB
