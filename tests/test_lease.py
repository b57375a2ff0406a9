"""Leases: one process at a time in a folder, for each way in which a holder can end; and reserved GPUs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from egpo.common.errors import UserError
from egpo.runtime import gpus, lease

HOLD = """
import sys, time
from pathlib import Path
from egpo.runtime import lease
lease.BEAT_SECONDS = 0.2
with lease.hold(Path(sys.argv[1]), lambda line: print(line, flush=True)):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lease, "STALE_SECONDS", 1.5)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.05)


@pytest.fixture
def other(tmp_path):
    """Starts a process that holds the folder; it is ended with the test."""
    started = []

    def start(seconds: float) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLD, str(tmp_path / "work"), str(seconds)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "held\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def seen_elsewhere(work) -> None:
    """Change the holder's file to one of another machine, whose process cannot be looked up."""
    _, file = lease._latest(lease.folder_of(work))
    entry = json.loads(file.read_text()) | {"pids_of": ["another machine", 1], "host": "node7"}
    file.write_text(json.dumps(entry))


def test_holder_and_numbers(tmp_path):
    work = tmp_path / "work"
    assert lease.holder(work) is None
    for number in (1, 2, 3):
        with lease.hold(work, print) as held:
            assert held.number == number
            entry = lease.holder(work)
            assert entry["pid"] == os.getpid() and 0 <= entry["age_s"] < 5
        assert lease.holder(work) is None
    assert {path.name: path.read_text() for path in lease.folder_of(work).iterdir()} == {
        "1.json": "",
        "2.json": "",
        "3.json": "",
    }


def test_the_second_waits_for_the_end_of_the_first(tmp_path, other):
    first, said, began = other(2), [], time.monotonic()
    with lease.hold(tmp_path / "work", said.append):
        assert time.monotonic() - began > 1
        assert first.wait(5) == 0
    assert said == [
        f"process {first.pid} on {os.uname().nodename} is working in {tmp_path / 'work'}: waiting for its end"
    ]


def test_the_second_is_refused_if_asked_for(tmp_path, other):
    other(30)
    with (
        pytest.raises(UserError, match="busy: process"),
        lease.hold(tmp_path / "work", print, lambda entry: f"busy: {lease.describe(entry)}"),
    ):
        pass


def test_a_killed_holder_is_replaced_at_once(tmp_path, other):
    first = other(30)
    first.kill()
    first.wait()
    began = time.monotonic()
    with lease.hold(tmp_path / "work", print, lambda _: "must not be refused") as held:
        assert held.number == 2
    assert time.monotonic() - began < 1


def test_a_holder_elsewhere_is_replaced_when_its_beats_stop(tmp_path, other):
    first, said = other(30), []
    seen_elsewhere(tmp_path / "work")
    threading.Timer(1, first.kill).start()
    began = time.monotonic()
    with lease.hold(tmp_path / "work", said.append):
        assert time.monotonic() - began > 2
    assert "on node7 has not responded for 2 s" in said[-1]


def test_clocks_do_not_matter(tmp_path, other):
    """A holder whose file is dated years ahead is alive as long as the date changes."""
    other(3)
    work = tmp_path / "work"
    seen_elsewhere(work)
    _, file = lease._latest(lease.folder_of(work))
    over = threading.Event()

    def skew() -> None:
        for second in range(1000):
            if over.wait(0.05) or not file.exists():
                return
            os.utime(file, (4e9 + second, 4e9 + second))

    thread = threading.Thread(target=skew)
    thread.start()
    began = time.monotonic()
    with lease.hold(work, print):
        assert time.monotonic() - began > 2
    over.set()
    thread.join()


def test_a_frozen_holder_ends_when_it_continues(tmp_path, other):
    first = other(30)
    first.send_signal(signal.SIGSTOP)
    seen_elsewhere(tmp_path / "work")
    with lease.hold(tmp_path / "work", print) as held:
        first.send_signal(signal.SIGCONT)
        assert first.wait(5) == -signal.SIGKILL
        assert "has taken" in first.stdout.read()
        held.beat()
        assert not held.lost


def test_a_process_that_looked_long_ago_cannot_take_an_old_number(tmp_path):
    """It looks and is delayed; others hold and release the folder; then it links."""
    work = tmp_path / "work"
    slow = lease.Lease(work)
    number, _ = lease._latest(slow.folder)
    for _ in range(2):
        with lease.hold(work, print):
            assert not slow.take(number + 1)
        assert not slow.take(number + 1)
    with lease.hold(work, print) as held:
        held.beat()
        assert held.number == 3 and not held.lost


def test_twenty_at_once_hold_it_one_after_the_other(tmp_path):
    inside, most, lock = [], [], threading.Lock()

    def worker() -> None:
        with lease.hold(tmp_path / "work", lambda _: None) as held:
            with lock:
                inside.append(held.number)
                most.append(len(inside))
            time.sleep(0.01)
            with lock:
                inside.remove(held.number)

    threads = [threading.Thread(target=worker) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1] * 20


# --- GPUs of a machine without a scheduler --------------------------------------------------------------


def test_jobs_reserve_different_gpus(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv(gpus.DEVICES, "0,1,5")
    with gpus.reserve_gpus(2, print, tmp_path):
        assert os.environ[gpus.DEVICES] == "0,1"
        monkeypatch.setenv(gpus.DEVICES, "0,1,5")
        with gpus.reserve_gpus(1, print, tmp_path):
            assert os.environ[gpus.DEVICES] == "5"
    monkeypatch.setenv(gpus.DEVICES, "0,1,5")
    with pytest.raises(UserError, match=r"needs 4 GPUs and finds 3 \(0, 1, 5\)"), gpus.reserve_gpus(4, print, tmp_path):
        pass


def test_no_gpu_is_looked_for_if_none_is_needed(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with gpus.reserve_gpus(0, print):
        pass
