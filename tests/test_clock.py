"""The small experiment while the clock of its processes jumps, by libfaketime (Debian's package faketime)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import small_experiment
from waiting import LIMIT, until

from egpo.common.paths import ROOT, Paths

NAME = "test-clock"
RESULTS = ROOT / Paths(NAME).root


@pytest.fixture
def clock(tmp_path, monkeypatch) -> Path:
    """A file that says by how much the clock of every process is ahead."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("this machine has no libfaketime")
    ahead = tmp_path / "ahead"
    ahead.write_text("+0")
    for name, value in {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(ahead),
        "FAKETIME_CACHE_DURATION": "1",  # seconds after which a process looks at the file again
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # setting a clock does not change durations
        "NO_FAKE_STAT": "1",  # times of files are the kernel's
    }.items():
        monkeypatch.setenv(name, value)
    return ahead


@pytest.mark.slow
def test_an_hour_ahead_and_then_an_hour_behind_ends_nothing(clock, tmp_path):
    shutil.rmtree(RESULTS, ignore_errors=True)
    configuration = small_experiment.write(NAME, tmp_path / "small.yaml")
    training = RESULTS / "train/minute/egpo/seed-1"
    run = small_experiment.start("all", configuration, "--cores", "2")
    try:
        until("a step", lambda: 1 in small_experiment.steps_done(training / "work") or run.poll() is not None)
        clock.write_text("+3600")
        until("the training's end", lambda: (training / "manifest.json").exists() or run.poll() is not None)
        clock.write_text("-3600")
        text = run.communicate(timeout=LIMIT)[0]
        assert run.returncode == 0, text
        assert "resuming after" not in text and (RESULTS / "report.html").exists()
        assert small_experiment.steps_done(training) == [0, 1, 2, 3, 4], "each step once"
    finally:
        shutil.rmtree(RESULTS, ignore_errors=True)
