"""The engines that answer for one model: one for each share of the GPUs (data parallel), behind one queue."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from egpo.config.backbones import Backbone
from egpo.config.evaluation import Evaluation
from egpo.inference.engine import Answer, Engine, EngineError, Messages
from egpo.runtime.gpus import visible


def shares(settings: Evaluation) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of each engine; None for what this process has, where one engine takes it all."""
    size = settings.tensor_parallel_size
    if settings.platform == "cpu" or settings.gpus == size:
        return [None]
    devices = visible()[: settings.gpus]
    return [",".join(devices[start : start + size]) for start in range(0, len(devices), size)]


class Engines:
    """Engines with the same model, as a context manager that ends them.

    Requests wait in one queue; an engine takes the next one when it has less than twice `max_num_seqs`. Which engine
    answers changes a response no more than the other requests beside it do. Arguments and errors are those of `Engine`.
    """

    def __init__(self, model: Path | str, backbone: Backbone, settings: Evaluation) -> None:
        self._room = 2 * settings.max_num_seqs
        self._waiting: deque[tuple[Messages, int, bool, Future[Answer]]] = deque()
        self._lock = threading.Lock()
        with ExitStack() as stack:
            self._engines = [
                stack.enter_context(Engine(model, backbone, settings, devices)) for devices in shares(settings)
            ]
            self._stack = stack.pop_all()  # if one cannot be started, those before it have ended

    def __enter__(self) -> Engines:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def alive(self) -> bool:
        """Whether all of them run."""
        return all(engine.alive for engine in self._engines)

    def wait(self) -> None:
        """Return when the model is loaded everywhere."""
        for engine in self._engines:
            engine.wait()

    def ask(self, messages: Messages, seed: int, logprobs: bool = False) -> Future[Answer]:
        """Queue a request; its answer comes in the future. Thread-safe."""
        future: Future[Answer] = Future()
        self._waiting.append((messages, seed, logprobs, future))
        self._hand_out()
        return future

    def _hand_out(self) -> None:
        """Give waiting requests to engines that have room, the least busy first."""
        while True:
            with self._lock:
                engine = min(self._engines, key=lambda one: one.unanswered)
                if not self._waiting or (engine.unanswered >= self._room and engine.alive):
                    return
                messages, seed, logprobs, future = self._waiting.popleft()
                try:
                    asked = engine.ask(messages, seed, logprobs)
                except (EngineError, OSError) as error:  # the latter where its process has just ended
                    future.set_exception(EngineError(f"vLLM cannot be asked: {error}"))
                    continue
            asked.add_done_callback(partial(self._pass_on, future))

    def _pass_on(self, future: Future[Answer], done: Future[Answer]) -> None:
        if error := done.exception():
            future.set_exception(error)
        else:
            future.set_result(done.result())
        self._hand_out()
