"""Leases: one process at a time in a folder, for each way in which a holder can end; and reserved GPUs."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from waiting import LIMIT, until

from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.runtime import gpus, lease

HOLD = """
import sys
from pathlib import Path
from egpo.runtime import lease
lease.BEAT_SECONDS = 0.2
with lease.hold(Path(sys.argv[1]), lambda line: print(line, flush=True)):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short waits. No holder is taken for dead because the machine is busy: where time matters, it is the clock's."""
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lease, "STALE_SECONDS", LIMIT)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.05)


@pytest.fixture
def other(tmp_path):
    """A process that holds the folder until its standard input is closed; it is ended with the test."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "work")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def freeze(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGSTOP)
    until("the stop", lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)


def seen_elsewhere(work) -> Path:
    """Change the holder's file to one of another machine, whose process cannot be looked up; returns the file."""
    _, file = lease._latest(lease.folder_of(work))
    entry = json.loads(file.read_text()) | {"pids_of": ["another machine", 1], "host": "node7"}
    file.write_text(json.dumps(entry))
    return file


class Clock:
    """In place of the module `time`: each sleep of a waiting process takes a second, in which something may happen."""

    def __init__(self, happens: Callable[[int], None]) -> None:
        self.now, self._happens = 0, happens

    def monotonic(self) -> int:
        return self.now

    def sleep(self, _: float) -> None:
        self.now += 1
        self._happens(self.now)


@pytest.fixture
def clock(monkeypatch) -> Callable[[Callable[[int], None]], Clock]:
    def use(happens: Callable[[int], None] = lambda now: None) -> Clock:
        made = Clock(happens)
        monkeypatch.setattr(lease, "time", made)
        return made

    return use


def test_holder_and_numbers(tmp_path):
    work = tmp_path / "work"
    assert lease.holder(work) is None
    for number in (1, 2, 3):
        with lease.hold(work, print) as held:
            assert held.number == number
            entry = lease.holder(work)
            assert entry["pid"] == os.getpid() and -1 < entry["age_s"] < LIMIT
        assert lease.holder(work) is None
    assert {path.name: path.read_text() for path in lease.folder_of(work).iterdir()} == {
        "1.json": "",
        "2.json": "",
        "3.json": "",
    }


def test_the_second_waits_for_the_end_of_the_first(tmp_path, other):
    said = []

    def report(line: str) -> None:
        said.append(line)
        other.stdin.close()  # only now the first can end

    with lease.hold(tmp_path / "work", report) as held:
        assert held.number == 2 and (held.folder / "1.json").read_text() == "", "the first has released it"
        assert other.wait(LIMIT) == 0
    assert said == [
        f"process {other.pid} on {os.uname().nodename} is working in {tmp_path / 'work'}: waiting for its end"
    ]


@pytest.mark.usefixtures("other")
def test_the_second_is_refused_if_asked_for(tmp_path):
    with (
        pytest.raises(UserError, match="busy: process"),
        lease.hold(tmp_path / "work", print, lambda entry: f"busy: {lease.describe(entry)}"),
    ):
        pass


def test_a_killed_holder_is_replaced_at_once(tmp_path, other):
    other.kill()
    other.wait()
    with lease.hold(tmp_path / "work", print, lambda _: "must not be refused, nor waited for") as held:
        assert held.number == 2


@pytest.mark.parametrize("date", [0, 4e9])  # long ago, and years ahead
def test_a_holder_elsewhere_is_replaced_when_its_beats_stop(tmp_path, other, clock, monkeypatch, date):
    """It is alive as long as the date of its file changes, whatever the date is."""
    monkeypatch.setattr(lease, "STALE_SECONDS", 120)
    freeze(other)  # it beats in `happens` alone
    file, said = seen_elsewhere(tmp_path / "work"), []

    def happens(now: int) -> None:
        if now <= 500:
            os.utime(file, (date + now, date + now))

    time_of = clock(happens)
    with lease.hold(tmp_path / "work", said.append):
        assert time_of.now == 500 + 121
    assert "on node7 has not responded for 120 s" in said[-1]


def test_a_frozen_holder_ends_when_it_continues(tmp_path, other, clock):
    freeze(other)
    seen_elsewhere(tmp_path / "work")
    clock()
    with lease.hold(tmp_path / "work", print) as held:
        other.send_signal(signal.SIGCONT)
        assert other.wait(LIMIT) == -signal.SIGKILL
        assert "has taken" in other.stdout.read()
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


def test_a_file_system_without_hard_links_is_named(tmp_path, monkeypatch):
    """The kernel's answer there, by a stand-in of os.link: exFAT and vfat say EPERM."""

    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(lease.os, "link", link)
    with (
        pytest.raises(UserError, match=r"no hard links .* Make `results` a link"),
        lease.hold(tmp_path / "work", print),
    ):
        pass
    assert list(lease.folder_of(tmp_path / "work").iterdir()) == []


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
        thread.join(LIMIT)
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


def test_jobs_of_one_allocation_share_its_gpus_and_no_other_jobs(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv(gpus.DEVICES, "0,1")
    with gpus.reserve_gpus(1, print, tmp_path):
        assert os.environ[gpus.DEVICES] == "0"
        monkeypatch.setenv(gpus.DEVICES, "0,1")
        with gpus.reserve_gpus(1, print, tmp_path):
            assert os.environ[gpus.DEVICES] == "1"
        monkeypatch.setenv("SLURM_JOB_ID", "8")  # another job on this node, whose GPUs have the same numbers
        monkeypatch.setenv(gpus.DEVICES, "0,1")
        with gpus.reserve_gpus(4, print, tmp_path):  # on two nodes: Slurm has given it the others there
            assert os.environ[gpus.DEVICES] == "0,1"


@pytest.mark.parametrize("devices", ["MIG-GPU-5c89852c-d268/7/0", "MIG-3eb87630-93d5", "GPU-8932f937, GPU-1"])
def test_gpus_have_other_names_than_numbers(tmp_path, monkeypatch, devices):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv(gpus.DEVICES, devices)
    with gpus.reserve_gpus(1, print, tmp_path):
        assert os.environ[gpus.DEVICES] == devices.split(",")[0]
        assert len(list(tmp_path.glob("egpo-gpu-*.lock"))) == 1


@pytest.mark.parametrize("devices", ["", "-1", "NoDevFiles"])
def test_no_gpu_at_all(tmp_path, monkeypatch, devices):
    monkeypatch.setenv(gpus.DEVICES, devices)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(UserError, match=r"needs 1 GPUs and finds 0 \(none\)"), gpus.reserve_gpus(1, print, tmp_path):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_another_users_lock_counts(tmp_path, monkeypatch, umask):
    """A process of the user 65534 takes a GPU whose lock root has made, as in /tmp with its sticky bit."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    folder = Path(tempfile.mkdtemp(prefix="egpo-locks-"))
    folder.chmod(0o1777)
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT / "src")!r})
from pathlib import Path
from egpo.runtime import gpus
os.setuid(65534)
os.environ[gpus.DEVICES] = "0,1"
with gpus.reserve_gpus(1, print, Path({str(folder)!r})):
    print(os.environ[gpus.DEVICES])
"""

    def other() -> str:
        # Without site packages in reach of that user, the module needs nothing but the standard library.
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=LIMIT
        ).stdout.strip()

    before = os.umask(umask)
    try:
        monkeypatch.setenv(gpus.DEVICES, "0,1")
        with gpus.reserve_gpus(1, print, folder):
            os.umask(before)
            assert other() == "1"
        assert other() == "0"
    finally:
        os.umask(before)
        shutil.rmtree(folder)


def test_a_job_that_waits_says_for_whom(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(gpus, "POLL_SECONDS", 0.01)
    said: list[str] = []
    monkeypatch.setenv(gpus.DEVICES, "0")
    held = ExitStack()
    held.enter_context(gpus.reserve_gpus(1, print, tmp_path))

    def say(line: str) -> None:
        said.append(line)
        held.close()

    monkeypatch.setenv(gpus.DEVICES, "0")
    with gpus.reserve_gpus(1, say, tmp_path):
        pass
    assert len(said) == 1 and "0 of 1 GPUs are free" in said[0] and f"egpo-gpu-0.lock of {tmp_path.owner()}" in said[0]


def test_no_gpu_is_looked_for_if_none_is_needed(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with gpus.reserve_gpus(0, print):
        pass
