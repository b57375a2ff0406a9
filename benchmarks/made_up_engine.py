"""An engine that decodes nothing: it waits as long as a GPU would, by arithmetic, and gives prepared answers.

It stands in for egpo.inference.engine.Engine in benchmarks/filling.py, with vLLM's order of service: places are given
in the order of requests, and each step adds a token to every response in flight. vLLM's engine is a process of its own,
which nothing in this one slows down; so a period begins when the one before it was due to end, not when this thread
woke up.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import Any

from egpo.cli.plan.cost import BANDWIDTH, BF16, PROMPT_TOKENS, READING, TOKEN_SECONDS
from egpo.config.backbones import Architecture
from egpo.inference.engine import Answer

SIGMA = 0.8  # of the logarithm of a response's length


def drawn_length(rng: random.Random, mean: float, limit: int) -> int:
    """Lognormal, and cut at the limit."""
    return max(1, min(limit, round(mean * rng.lognormvariate(-(SIGMA**2) / 2, SIGMA))))


class MadeUpEngine:
    """Set `size`, `answers`, `mean` and `speed` before use.

    Attributes:
        size: of the model.
        mean: tokens of a response, before it is cut at the limit.
        answers: texts, of which each request gets one by its seed.
        speed: how many seconds pass in one.
        log: (seconds by the arithmetic, responses in flight) of each period without a change.
    """

    size: Architecture
    answers: list[str]
    mean: float
    speed: float
    log: list[tuple[float, int]]

    def __init__(self, model: object, backbone: Any, settings: Any, devices: str | None = None) -> None:
        self._most, self._limit = settings.max_num_seqs, backbone.max_evaluation_length
        self._waiting: deque[tuple[int, Future[Answer]]] = deque()
        self._changed = threading.Condition()
        self._unanswered = 0
        self.alive = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> MadeUpEngine:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self.alive = False
            self._changed.notify()
        self._thread.join()

    def wait(self) -> None:
        pass

    @property
    def unanswered(self) -> int:
        return self._unanswered

    def ask(self, messages: object, seed: int, logprobs: bool = False) -> Future[Answer]:
        future: Future[Answer] = Future()
        with self._changed:
            self._waiting.append((seed, future))
            self._unanswered += 1
            self._changed.notify()
        return future

    def length(self, seed: int) -> int:
        """Tokens of a response."""
        return drawn_length(random.Random(seed), self.mean, self._limit)

    def _step_seconds(self, flight: list[list[Any]]) -> float:
        cache = 2 * BF16 * self.size.num_hidden_layers * self.size.kv_width * sum(one[1] for one in flight)
        return ((BF16 * self.size.parameters + cache) / (READING * BANDWIDTH) + TOKEN_SECONDS) / self.speed

    def _run(self) -> None:
        flight: list[list[Any]] = []  # [tokens to come, tokens so far, seed, future]
        clock = 0.0  # when the next period begins
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self.alive or self._waiting or self._unanswered)
                if not self.alive:
                    return
                if not flight:
                    clock = time.monotonic()
                while self._waiting and len(flight) < self._most:
                    seed, future = self._waiting.popleft()
                    flight.append([self.length(seed), PROMPT_TOKENS, seed, future])
                step, steps = self._step_seconds(flight), min(one[0] for one in flight)
                left = max(0.0, clock + steps * step - time.monotonic())
                if len(flight) < self._most:  # a request that comes meanwhile gets its place at the next step
                    self._changed.wait_for(lambda: not self.alive or self._waiting, timeout=left)
                else:
                    self._changed.wait_for(lambda: not self.alive, timeout=left)
            done = max(1, min(steps, round((time.monotonic() - clock) / step)))
            self.log.append((done * step, len(flight)))
            clock += done * step
            for one in flight:
                one[0] -= done
                one[1] += done
            for _, _, seed, future in (one for one in flight if one[0] <= 0):
                self._unanswered -= 1
                text = self.answers[seed % len(self.answers)]
                future.set_result(Answer(text=text, prompt_tokens=PROMPT_TOKENS, tokens=self.length(seed)))
            flight = [one for one in flight if one[0] > 0]
