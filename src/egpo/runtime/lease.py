"""Leases: one process at a time works in a folder, whatever became of the drivers that started them.

A driver that is killed on a cluster leaves its jobs behind, and its successor submits them again. The second waits here
until the first has ended, and then finds its work done.

In the folder `<work>.lease`, the file `<n>.json` says who took the folder as the n-th. It is made by linking, which one
of two processes can do, and emptied by the holder that lets go. No file is renamed or removed: a name that could come
free again might be taken twice, by one who looked before and links after. The holder touches its file; a holder whose
file has not been touched for STALE_SECONDS, by the clock of the one who waits, is taken for dead (its node is down, or
it is frozen) and the next number is taken. A holder that finds a higher number than its own ends itself.
No clock is compared with another one's, and a full disk hinders neither a touch nor emptying a file.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from egpo.common.errors import UserError

BEAT_SECONDS = 10.0
STALE_SECONDS = 120.0
POLL_SECONDS = 1.0


def folder_of(work: Path) -> Path:
    """Beside the folder, which may be removed and made anew while it is held."""
    return work.with_name(f"{work.name}.lease")


def _latest(folder: Path) -> tuple[int, Path | None]:
    """(highest number, its file), (0, None) where nobody ever was."""
    files = {int(path.stem): path for path in folder.glob("*.json") if path.stem.isdigit()}
    number = max(files, default=0)
    return number, files.get(number)


def _myself() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        # Process ids mean something on one machine, since its start, in one container alone.
        "pids_of": [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            Path("/proc/self/ns/pid").stat().st_ino,
        ],
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "job": os.environ.get("SLURM_JOB_ID"),
    }


def _is_gone(entry: dict[str, Any]) -> bool:
    """Whether the holder has certainly ended; False where that cannot be seen from here."""
    if entry["pids_of"] != _myself()["pids_of"]:
        return False
    try:
        process = psutil.Process(entry["pid"])
        return process.create_time() != entry["started"] or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _entry(file: Path) -> dict[str, Any] | None:
    """Who holds the folder by this file; None once it is empty. A file damaged by a loss of power counts as empty, for
    nobody who still runs has written it.
    """
    try:
        return json.loads(file.read_text())
    except json.JSONDecodeError:
        return None


def holder(work: Path) -> dict[str, Any] | None:
    """Who works in the folder: host, pid, job (Slurm's id or None) and age_s, the seconds since its last beat by the
    file's time. None if nobody does, or its holder has certainly ended.
    """
    _, file = _latest(folder_of(work))
    entry = _entry(file) if file else None
    if entry is None or _is_gone(entry):
        return None
    return entry | {"age_s": time.time() - file.stat().st_mtime}


def describe(entry: dict[str, Any]) -> str:
    job = f"Slurm job {entry['job']}, " if entry["job"] else ""
    return f"{job}process {entry['pid']} on {entry['host']}"


class Lease:
    """The right to work in a folder; `hold` makes one."""

    def __init__(self, work: Path) -> None:
        self.folder, self.number, self.lost = folder_of(work), 0, False
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def file(self) -> Path:
        return self.folder / f"{self.number}.json"

    def take(self, number: int) -> bool:
        """Become the holder of this number; False if another was quicker."""
        self.number = number
        new = self.folder / f".{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}"
        new.write_text(json.dumps(_myself()))
        try:
            os.link(new, self.file)
        except FileExistsError:
            return False
        finally:
            new.unlink()
        return True

    def beat(self) -> None:
        """Touch the file, and look whether it is still the latest."""
        try:
            os.utime(self.file)
        except FileNotFoundError:
            self.lost = True
        except OSError:  # the file system does not answer: the next beat will tell
            return
        self.lost = self.lost or _latest(self.folder)[0] > self.number

    def free(self) -> None:
        with suppress(FileNotFoundError):  # somebody has removed the folder
            os.truncate(self.file, 0)


def _wait(lease: Lease, refuse: Callable[[dict[str, Any]], str] | None, report: Callable[[str], None]) -> None:
    """Take the lease once its holder has let go or is dead. Raises UserError at once if `refuse` words one."""
    seen: tuple[Any, ...] = ()
    since = told = 0.0
    while True:
        number, file = _latest(lease.folder)
        entry = _entry(file) if file else None
        if entry is None:
            if lease.take(number + 1):
                return
            continue
        now = (number, file.stat().st_mtime_ns)
        if now != seen:
            seen, since = now, time.monotonic()
        dead = _is_gone(entry)
        if dead or time.monotonic() - since > STALE_SECONDS:
            if not dead:
                report(f"{describe(entry)} has shown no life for {STALE_SECONDS:.0f} s: going on without it")
            if lease.take(number + 1):
                return
            continue
        if refuse:
            raise UserError(refuse(entry))
        if not told:
            report(f"{describe(entry)} is at work in {lease.folder.with_suffix('')}: waiting for its end")
            told = time.monotonic()
        time.sleep(POLL_SECONDS)


def _end(lease: Lease, report: Callable[[str], None]) -> None:
    """At once: nothing more may be written. What this process has started ends with it (egpo.runtime.guard)."""
    report(f"another process has taken {lease.folder.with_suffix('')} over: ending")
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def hold(
    work: Path,
    report: Callable[[str], None],
    refuse: Callable[[dict[str, Any]], str] | None = None,
) -> Iterator[Lease]:
    """Hold the folder `work`, alone, while the block runs.

    Where another process holds it: wait for its end, or raise UserError with the words of `refuse`. This process is
    killed should it lose the lease, as it does after it was frozen for minutes.
    """
    lease, done = Lease(work), threading.Event()
    _wait(lease, refuse, report)

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            lease.beat()
            if lease.lost:
                _end(lease, report)
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        done.set()
        thread.join()
        lease.free()
