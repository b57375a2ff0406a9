"""evalscope's scoring in lasting processes: its own calls, limit and errors."""

from __future__ import annotations

import inspect
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from evalscope.metrics.math import isolation, parser
from evalscope.metrics.math.contracts import MathEvaluationError
from waiting import LIMIT, until

from egpo.evaluation import scoring
from egpo.evaluation.scoring import Scorers, lasting_scorers


def process_number() -> int:
    return os.getpid()


def wait(seconds: float) -> str:
    time.sleep(seconds)
    return "done"


def leave() -> None:
    os._exit(3)


def refuse() -> None:
    raise ValueError("no")


def unsendable() -> object:
    return lambda: None


@pytest.fixture
def one():
    scorers = Scorers(1)
    yield scorers
    scorers.end()


def test_a_process_answers_many_calls_and_is_replaced_after_some(one, monkeypatch):
    assert len({one.run(process_number, (), LIMIT, "call") for _ in range(3)} - {os.getpid()}) == 1
    monkeypatch.setattr(scoring, "CALLS", 2)
    assert len({one.run(process_number, (), LIMIT, "call") for _ in range(4)}) == 4 - 1


def test_a_call_that_takes_too_long_is_an_error_as_evalscopes_and_the_next_one_works(one):
    start = time.monotonic()
    with pytest.raises(MathEvaluationError, match=r"call: exceeded the 0\.5s mathematical scoring deadline"):
        one.run(wait, (2 * LIMIT,), 0.5, "call")
    assert time.monotonic() - start < LIMIT, "it does not wait for the call"
    assert one.run(wait, (0,), LIMIT, "call") == "done"


def test_a_replaced_process_outlives_the_thread_that_replaced_it(one):
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(threading.get_native_id).result()
        with pytest.raises(MathEvaluationError, match="exceeded"):
            pool.submit(one.run, wait, (2 * LIMIT,), 0.5, "call").result()
        assert pool.submit(one.run, wait, (0,), LIMIT, "call").result() == "done"
    until("the thread's end", lambda: not Path(f"/proc/self/task/{thread}").exists())
    assert one.run(wait, (0,), LIMIT, "call") == "done"


def test_a_process_that_ends_is_an_error_and_the_next_one_works(one):
    with pytest.raises(MathEvaluationError, match="call: scoring process ended"):
        one.run(leave, (), LIMIT, "call")
    assert one.run(wait, (0,), LIMIT, "call") == "done"


def test_errors_pass_and_what_cannot_be_sent_is_one(one):
    with pytest.raises(ValueError, match="no"):
        one.run(refuse, (), LIMIT, "call")
    with pytest.raises(MathEvaluationError, match="cannot be sent"):
        one.run(unsendable, (), LIMIT, "call")


def test_threads_share_the_processes():
    scorers = Scorers(2)
    with ThreadPoolExecutor(8) as pool:
        numbers = set(pool.map(lambda _: scorers.run(process_number, (), LIMIT, "call"), range(32)))
    scorers.end()
    assert 1 <= len(numbers) <= 2


def test_it_takes_evalscopes_place_for_a_while():
    asked, given = (list(inspect.signature(one).parameters) for one in (isolation.run_isolated, Scorers.run))
    assert ["self", *asked] == given
    before = parser.run_isolated
    with lasting_scorers(1):
        assert parser.run_isolated is not before
    assert parser.run_isolated is before is isolation.run_isolated
