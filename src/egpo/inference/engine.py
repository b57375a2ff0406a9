"""vLLM in a separate process, which many threads can use at once.

evalscope scores every answer in a fork of the process that called it. So vLLM, with its gigabytes and threads, runs in
another process (egpo.inference.engine_process). It loads once per model, serves all benchmarks and trials, and batches
requests as they come.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from egpo.common.errors import UserError
from egpo.common.hashing import digest
from egpo.config.backbones import Backbone
from egpo.config.evaluation import Evaluation
from egpo.runtime import forks, out_of_memory
from egpo.runtime.gpus import DEVICES

Messages = list[dict[str, str]]
GIB = 2**30
ONE_THREAD_BYTES = 200 * 2**20  # of weights
OUT_OF_MEMORY = (
    "out of memory: lower evaluation.max_num_seqs, on a CPU also evaluation.kv_cache_gib, run nothing beside it, or "
    "give it more (jobs.evaluate.memory_gib, on GPUs evaluation.gpus)."
)
CPU_CACHE_GIB = 4.0  # KV cache on a CPU without `kv_cache_gib`


class EngineError(RuntimeError):
    """The vLLM process could not start, or ended before it had answered."""


@dataclass(frozen=True)
class Answer:
    """The answer to one prompt.

    Attributes:
        tokens: number of tokens of the response.
        truncated: whether the response reached its limit of tokens.
        error: why there is no response, else None.
        overflow: whether that is because the prompt leaves too little of the context.
        token_ids, logprobs: of the response, with the token that ends it; empty unless the request asks for them.
    """

    text: str = ""
    prompt_tokens: int = 0
    tokens: int = 0
    truncated: bool = False
    error: str | None = None
    overflow: bool = False
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()


def request_seed(trial_seed: int, messages: Messages) -> int:
    """The sampling seed of one question in one trial, whatever the order and number of requests."""
    text = "\n".join(f"{message['role']}: {message['content']}" for message in messages)
    return int.from_bytes(digest(trial_seed, "evaluation", text, size=7))


def engine_arguments(model: Path | str, backbone: Backbone, settings: Evaluation) -> dict[str, Any]:
    """Arguments of vllm.LLM."""
    arguments: dict[str, Any] = {
        "model": str(model),
        # Weights in pickles, which vLLM would fall back to, can run code.
        "load_format": "safetensors",
        "dtype": settings.dtype,
        "max_model_len": backbone.max_model_len,
        "max_num_seqs": settings.max_num_seqs,
        # The model's generation_config.json would set what we leave out.
        "generation_config": "vllm",
        # Log-probabilities before temperature, top-p and top-k.
        "logprobs_mode": "raw_logprobs",
        "seed": 0,
    }
    if settings.platform == "cpu":
        cache = settings.kv_cache_gib or CPU_CACHE_GIB
        return arguments | {
            "enforce_eager": True,
            "kv_cache_memory_bytes": round(cache * GIB),
            # After a part of a prompt vLLM resets the request's random generator. torch cannot do so on a CPU, and the
            # process ends. So a prompt is read whole, or waits for the next step.
            "enable_chunked_prefill": False,
        }
    return arguments | {"tensor_parallel_size": settings.tensor_parallel_size}


def sampling_arguments(backbone: Backbone, settings: Evaluation) -> dict[str, Any]:
    """Arguments of vllm.SamplingParams that all requests share."""
    return {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
        "max_tokens": backbone.max_evaluation_length,
    }


def min_room(backbone: Backbone) -> int:
    """Number of tokens that a prompt must leave for its response."""
    return backbone.min_evaluation_length or backbone.max_evaluation_length


def is_tiny(model: Path | str) -> bool:
    """Whether a model's matrices are too small to divide among threads, which would mostly wait for each other."""
    return sum(file.stat().st_size for file in Path(model).glob("*.safetensors")) < ONE_THREAD_BYTES


def environment(model: Path | str, settings: Evaluation, devices: str | None = None) -> dict[str, str]:
    """Environment of the vLLM process; devices: its CUDA_VISIBLE_DEVICES, None for what this process has."""
    added = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if devices is not None:
        added[DEVICES] = devices
    if Path(model).is_dir():
        added["HF_HUB_OFFLINE"] = "1"
    if settings.platform == "cpu":
        # vLLM compiles its ranks of log-probabilities even with enforce_eager: half a minute, for no gain here.
        added["TORCHDYNAMO_DISABLE"] = "1"
    if settings.platform == "cpu" and is_tiny(model):
        added["OMP_NUM_THREADS"] = "1"
    return {**os.environ, **added}


class Engine:
    """A vLLM process, as a context manager that ends it.

    `wait` blocks until the model is loaded; `ask` returns at once.

    Args:
        model: a folder in Hugging Face format, or a name on the Hub.
        devices: CUDA_VISIBLE_DEVICES of the process, None for what this one has.

    Raises:
        EngineError: from `wait`, `ask` and its futures, when the process has ended.
        UserError: from `wait`, for a model that cannot be used.
    """

    def __init__(self, model: Path | str, backbone: Backbone, settings: Evaluation, devices: str | None = None) -> None:
        self._answers: dict[int, Future[Answer]] = {}
        self._numbers = itertools.count()
        self._ready: Future[None] = Future()
        self._lock = threading.Lock()
        self._ended = False
        self._last_words = ""
        self._kills = out_of_memory.kills()
        self._connection, theirs = Pipe()
        self._process = forks.popen(
            [sys.executable, "-m", "egpo.inference.engine_process", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            env=environment(model, settings, devices),
            # A new process group, so that vLLM's workers can be ended with it. When this process ends, the connection
            # closes, and so the group ends too.
            start_new_session=True,
        )
        theirs.close()
        sampling = sampling_arguments(backbone, settings)
        self._connection.send((engine_arguments(model, backbone, settings), sampling, min_room(backbone)))
        self._reader = threading.Thread(target=self._receive, daemon=True)
        self._reader.start()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError), self._lock:
            self._connection.send(None)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        self._connection.close()

    @property
    def alive(self) -> bool:
        return not self._ended and self._process.poll() is None

    @property
    def unanswered(self) -> int:
        """Number of requests that have no answer yet."""
        return len(self._answers)

    def wait(self) -> None:
        """Return when the model is loaded."""
        self._ready.result()

    def ask(self, messages: Messages, seed: int, logprobs: bool = False) -> Future[Answer]:
        """Start a request; its answer comes in the future. Thread-safe.

        Args:
            logprobs: whether the answer has `token_ids` and `logprobs`.
        """
        future: Future[Answer] = Future()
        with self._lock:
            if self._ended:
                raise EngineError("the vLLM process has ended; its output is in the log.")
            number = next(self._numbers)
            self._answers[number] = future
            self._connection.send((number, messages, seed, logprobs))
        return future

    def _reason(self) -> str:
        """Why the process has ended."""
        if out_of_memory.says_so(self._last_words) or out_of_memory.kills() > self._kills:
            return OUT_OF_MEMORY
        return "its output is in the log."

    def _receive(self) -> None:
        """Pass on what the process sends, until it ends."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                number, value = self._connection.recv()
                if number is not None:
                    self._answers.pop(number).set_result(value)
                elif value is None:
                    self._ready.set_result(None)
                elif self._ready.done():
                    self._last_words = value
                else:
                    self._ready.set_exception(UserError(value))
        with self._lock:
            self._ended = True
        error = EngineError(f"the vLLM process ended unexpectedly; {self._reason()}")
        waiting: list[Future[Any]] = [self._ready, *self._answers.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(error)
