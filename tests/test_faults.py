"""What can go wrong in an evaluation, done to a real one: vLLM killed, a scorer that hangs, a full disk and so on.

Each fault is injected into the process that runs the evaluation. After it no denominator has changed, and after a
resume the records are those of an undisturbed run.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from evaluation_runs import Run, benchmark, make_model, settings
from waiting import LIMIT

pytestmark = pytest.mark.slow
ONE_TRIAL = settings(seeds=(1,))
ITEMS = {"sums": 15, "stories": 10}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


def new_run(model: Path, folder: Path) -> Run:
    benchmarks = {"sums": benchmark("math_500", 15), "stories": benchmark("gsm8k", 10)}
    return Run(model, benchmarks, {name: folder / name for name in benchmarks}, folder / "out")


@pytest.fixture(scope="module")
def undisturbed(model, tmp_path_factory) -> pd.DataFrame:
    return new_run(model, tmp_path_factory.mktemp("undisturbed"))(ONE_TRIAL)[0]


def assert_complete(records: pd.DataFrame) -> None:
    assert records.groupby("benchmark").size().to_dict() == ITEMS
    assert not records.duplicated(["benchmark", "question", "trial"]).any()


# Before the last trial: its answers may have come by then, as it was asked while the one before was scored.
KILL = """
import egpo.evaluation.run as run
once = run._run_once
def killed(trial, subsets, settings, engine, tick):
    if trial.name == "stories":
        engine.engines._engines[0]._process.kill()
        engine.engines._engines[0]._process.wait()
    return once(trial, subsets, settings, engine, tick)
run._run_once = killed
"""


def test_vllm_killed_in_the_middle(model, tmp_path, undisturbed):
    run = new_run(model, tmp_path)
    ended = run.call(ONE_TRIAL, KILL)
    assert ended.returncode != 0
    assert "stories trial 1/1: the vLLM process ended unexpectedly" in ended.stderr
    assert "Run the same command again: finished trials are kept." in ended.stderr
    assert not (run.out / "records.parquet").exists()
    records, reported = run(ONE_TRIAL)
    assert "1 of 2 trials are finished already" in reported
    pd.testing.assert_frame_equal(records, undisturbed)


# After evalscope is loaded: one response hangs the scorer, one crashes it, one never comes.
ODD = """
import time
import egpo.evaluation.run as run
HANGS, CRASHES, FAILS = {texts!r}
once = run._run_once
# The scoring processes find these by their names.
def hang(*_, **__):
    time.sleep({forever})
def crash(*_, **__):
    raise RuntimeError("injected")
def changed(*arguments):
    import egpo.evaluation.harness as harness
    import evalscope.metrics.math.parser as parser
    from egpo.inference.engine import Answer
    isolated, output = parser.run_isolated, harness.model_output
    def odd(function, texts, deadline, label, **options):
        if HANGS in texts:
            function, deadline = hang, 1
        else:
            deadline = {forever}
        if CRASHES in texts:
            function = crash
        return isolated(function, texts, deadline, label, **options)
    parser.run_isolated = odd
    harness.model_output = lambda answer: output(Answer(error="injected") if answer.text == FAILS else answer)
    run._run_once = once
    return once(*arguments)
run._run_once = changed
"""


def test_a_scorer_that_hangs_one_that_crashes_and_a_request_that_fails(model, tmp_path, undisturbed):
    sums = undisturbed[undisturbed["benchmark"] == "sums"].set_index("question")
    texts = sums["response"].loc[[2, 5, 9]].tolist()
    assert len(set(texts)) == 3
    run = new_run(model, tmp_path)
    records, reported = run(ONE_TRIAL, ODD.format(texts=texts, forever=LIMIT))
    assert_complete(records)
    mine = records[records["benchmark"] == "sums"].set_index("question")
    assert mine["status"].drop([2, 5, 9]).eq("scored").all()
    assert mine["status"].loc[[2, 5, 9]].tolist() == ["excluded", "excluded", "failed"]
    assert not mine["correct"].loc[[2, 5, 9]].any()
    assert "2 excluded, 1 failed" in reported
    pd.testing.assert_frame_equal(mine.drop([2, 5, 9]), sums.drop([2, 5, 9]), check_dtype=False)


def test_a_full_disk_loses_nothing(model, tmp_path, undisturbed):
    run = new_run(model, tmp_path)
    run.work.mkdir(parents=True)
    small = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(run.work)]
    if os.geteuid() or subprocess.run(small, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        ended = run.call(ONE_TRIAL)
        assert ended.returncode != 0
        assert "no space left. Free some and run the same command again" in ended.stderr
        assert not (run.out / "records.parquet").exists()
        subprocess.run(["mount", "-o", "remount,size=64m", str(run.work)], check=True)
        records, _ = run(ONE_TRIAL)
        pd.testing.assert_frame_equal(records, undisturbed)
    finally:
        subprocess.run(["umount", str(run.work)], check=True)
