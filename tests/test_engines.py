"""Several engines behind one queue, with mocks in place of vLLM's processes."""

from __future__ import annotations

from concurrent.futures import Future
from itertools import count

import pytest

from egpo.common.paths import ROOT
from egpo.config.evaluation import Evaluation
from egpo.config.files import read_yaml
from egpo.config.loader import load
from egpo.inference import engines
from egpo.inference.engine import Answer, EngineError, environment
from egpo.runtime.gpus import DEVICES

MESSAGES = [{"role": "user", "content": "What is 1 + 1?"}]


def settings(**changes: object) -> Evaluation:
    return Evaluation.model_validate({"seeds": [1], "platform": "cuda", "max_num_seqs": 2, "gpus": 3, **changes})


class MockEngine:
    """Answers when it is told to; `alive` until `end`."""

    made: list[MockEngine]

    def __init__(self, model: object, backbone: object, given: Evaluation, devices: str | None) -> None:
        self.devices, self.asked, self.alive, self.most = devices, dict[int, Future[Answer]](), True, 0
        self.numbers = count()
        self.made.append(self)

    def __enter__(self) -> MockEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.alive = False

    @property
    def unanswered(self) -> int:
        return len(self.asked)

    def ask(self, messages: object, seed: int, logprobs: bool) -> Future[Answer]:
        if not self.alive:
            raise EngineError("it has ended")
        future: Future[Answer] = Future()
        self.asked[next(self.numbers)] = future
        self.most = max(self.most, len(self.asked))
        return future

    def answer_one(self) -> None:
        self.asked.pop(min(self.asked)).set_result(Answer(text=str(self.devices)))

    def end(self) -> None:
        self.alive = False
        waiting, self.asked = self.asked, {}
        for future in waiting.values():
            future.set_exception(EngineError("it has ended"))


@pytest.fixture
def made(monkeypatch) -> list[MockEngine]:
    monkeypatch.setenv(DEVICES, "0,1,5,7")
    monkeypatch.setattr(engines, "Engine", MockEngine)
    MockEngine.made = []
    return MockEngine.made


def test_each_engine_has_its_own_gpus(monkeypatch):
    monkeypatch.setenv(DEVICES, "0,1,5,GPU-7")
    assert engines.shares(settings(gpus=4)) == ["0", "1", "5", "GPU-7"]
    assert engines.shares(settings(gpus=4, tensor_parallel_size=2)) == ["0,1", "5,GPU-7"]
    assert engines.shares(settings(gpus=2, tensor_parallel_size=2)) == engines.shares(settings(gpus=1)) == [None]
    assert engines.shares(settings(platform="cpu", gpus=1)) == [None]
    assert environment("nowhere", settings(), "5")[DEVICES] == "5"
    assert settings(gpus=4, tensor_parallel_size=2, max_num_seqs=10).requests == 20


@pytest.mark.parametrize(("platform", "requests"), [("cpu", 64), ("cuda", 512)])
def test_requests_in_flight_by_platform(platform, requests):
    assert Evaluation.model_validate({"seeds": [1], "platform": platform}).max_num_seqs == requests


def test_every_request_is_answered_once_and_no_engine_is_idle(made):
    with engines.Engines("model", None, settings()) as pool:
        asked = [pool.ask(MESSAGES, seed) for seed in range(50)]
        assert [engine.unanswered for engine in made] == [4, 4, 4]  # twice max_num_seqs
        for turn in range(50):
            made[2 if turn < 20 else turn % 3].answer_one()  # one is much quicker at first
            left = 50 - turn - 1
            assert sum(engine.unanswered for engine in made) == min(12, left)
            if left == 12:
                break
        for engine in made:
            while engine.asked:
                engine.answer_one()
        assert {future.result(timeout=0).text for future in asked} == {"0", "1", "5"}
        assert max(engine.most for engine in made) == 4 and pool.alive
    assert not pool.alive


def test_when_an_engine_ends_nobody_waits(made):
    with engines.Engines("model", None, settings()) as pool:
        asked = [pool.ask(MESSAGES, seed) for seed in range(5000)]
        made[1].end()
        assert not pool.alive
        assert sum(future.done() for future in asked) == 5000 - 8  # the others have theirs
        with pytest.raises(EngineError):
            asked[-1].result(timeout=0)
        with pytest.raises(EngineError):
            pool.ask(MESSAGES, 1).result(timeout=0)


def test_an_engine_that_cannot_be_started_ends_the_others(made, monkeypatch):
    def refuse(*arguments: object) -> MockEngine:
        if len(made) == 2:
            raise OSError("no process")
        return MockEngine(*arguments)

    monkeypatch.setattr(engines, "Engine", refuse)
    with pytest.raises(OSError, match="no process"):
        engines.Engines("model", None, settings())
    assert not any(engine.alive for engine in made)


def test_the_papers_evaluations_have_the_default():
    assert load(read_yaml(ROOT / "config" / "paper.yaml"), "paper").experiment.evaluation.max_num_seqs == 512
