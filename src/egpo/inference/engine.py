"""vLLM in a process of its own, that many threads can ask at once.

evalscope scores every answer in a fork of the process that called it. So vLLM, with its gigabytes and
threads, lives elsewhere (egpo.inference.engine_process), loads once per model, and serves every
benchmark and every trial. Requests are batched there as they come.
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

Messages = list[dict[str, str]]
GIB = 2**30
ONE_THREAD = 200 * 2**20  # bytes of weights below which matrices are too small to share out among threads
CPU_CACHE_GIB = 4.0  # memory for the KV cache on a CPU when the configuration names none


class EngineError(RuntimeError):
    """The vLLM process could not start, or ended while answers were due."""


@dataclass(frozen=True)
class Answer:
    """What came back for one prompt. `tokens` counts the response's; `truncated`: it used up its budget.

    error: why there is no response, else None; `overflow`: because the prompt leaves too little of the context.
    token_ids, logprobs: of the response, its end included; empty unless the engine was asked for them.
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
    """The sampling seed of one question in one trial: order and company of the requests play no part."""
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
        # The model's own generation_config.json would fill in what we leave out.
        "generation_config": "vllm",
        # Log-probabilities are those of the model itself, whatever temperature, top-p and top-k choose with.
        "logprobs_mode": "raw_logprobs",
        "seed": 0,
    }
    if settings.platform == "cpu":
        cache = settings.kv_cache_gib or CPU_CACHE_GIB
        return arguments | {
            "enforce_eager": True,
            "kv_cache_memory_bytes": round(cache * GIB),
            # After a part of a prompt vLLM sets the request's random generator back, which torch's of a CPU cannot
            # do: the process ends. So a prompt is read whole, or waits for the next step.
            "enable_chunked_prefill": False,
        }
    return arguments | {"tensor_parallel_size": settings.gpus}


def sampling_arguments(backbone: Backbone, settings: Evaluation, logprobs: bool = False) -> dict[str, Any]:
    """Arguments of vllm.SamplingParams, but for the seed. logprobs: ask for that of every chosen token."""
    return {
        **({"logprobs": 0, "flat_logprobs": True} if logprobs else {}),
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
        "max_tokens": backbone.max_evaluation_length,
    }


def least_tokens(backbone: Backbone) -> int:
    """Fewest tokens that a response may be given."""
    return backbone.min_evaluation_length or backbone.max_evaluation_length


def environment(model: Path | str, settings: Evaluation) -> dict[str, str]:
    """Environment of the vLLM process."""
    added = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if Path(model).is_dir():
        added["HF_HUB_OFFLINE"] = "1"
    weights = sum(file.stat().st_size for file in Path(model).glob("*.safetensors"))
    if settings.platform == "cpu" and weights < ONE_THREAD:
        # Threads that wait for each other at every small matrix are ten times slower on shared cores.
        added["OMP_NUM_THREADS"] = "1"
    return {**os.environ, **added}


class Engine:
    """A vLLM process; a context manager, at whose end no process is left.

    `wait` blocks until the model is loaded, `ask` returns at once. Both raise EngineError when the
    process has ended, and UserError for a model that cannot be used.
    """

    def __init__(self, model: Path | str, backbone: Backbone, settings: Evaluation, logprobs: bool = False) -> None:
        self._answers: dict[int, Future[Answer]] = {}
        self._numbers = itertools.count()
        self._ready: Future[None] = Future()
        self._lock = threading.Lock()
        self._ended = False
        self._connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "egpo.inference.engine_process", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            env=environment(model, settings),
            # A group of its own, so that vLLM's workers can be ended with it. It ends by itself when
            # this process does, whatever the cause, because the connection closes.
            start_new_session=True,
        )
        theirs.close()
        least = least_tokens(backbone)
        sampling = sampling_arguments(backbone, settings, logprobs)
        self._connection.send((engine_arguments(model, backbone, settings), sampling, least))
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
        return not self._ended

    def wait(self) -> None:
        """Return when the model is loaded."""
        self._ready.result()

    def ask(self, messages: Messages, seed: int) -> Future[Answer]:
        """The answer to a chat, to be. Thread-safe."""
        future: Future[Answer] = Future()
        with self._lock:
            if self._ended:
                raise EngineError("the vLLM process has ended; its output is in the log.")
            number = next(self._numbers)
            self._answers[number] = future
            self._connection.send((number, messages, seed))
        return future

    def _receive(self) -> None:
        """Hand out what the process sends, until it ends."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                number, value = self._connection.recv()
                if number is not None:
                    self._answers.pop(number).set_result(value)
                elif value is None:
                    self._ready.set_result(None)
                else:
                    self._ready.set_exception(UserError(value))
        with self._lock:
            self._ended = True
        error = EngineError("the vLLM process ended before its time; its output is in the log.")
        for future in [self._ready, *self._answers.values()]:
            if not future.done():
                future.set_exception(error)
