"""Leases: at most one process at a time works in a folder, also after a driver was killed.

A driver that is killed on a cluster leaves its jobs running, and the next driver submits them again. The second job
waits here until the first has ended, and then finds its work done.

The n-th holder of a folder is named in `<work>.lease/<n>.json`. The file is created by linking, at which only one of
two processes can succeed, and emptied on release. No file is renamed or removed: if a name could become free again, a
process that had looked earlier could take it a second time. The holder touches its file regularly. If the file stays
untouched for STALE_SECONDS by the clock of a waiting process, the holder counts as dead (its node is down, or it is
frozen), and the waiting process takes the next number. A holder that finds a number higher than its own ends itself.
Clocks of different machines are never compared, and touching or emptying a file works on a full disk.
"""

from __future__ import annotations

import errno
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
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # as file systems without them say


def folder_of(work: Path) -> Path:
    """The lease's folder. It lies beside `work`, which may be removed and created again while it is held."""
    return work.with_name(f"{work.name}.lease")


def _latest(folder: Path) -> tuple[int, Path | None]:
    """(highest number, its file), or (0, None) if the folder was never held."""
    files = {int(path.stem): path for path in folder.glob("*.json") if path.stem.isdigit()}
    number = max(files, default=0)
    return number, files.get(number)


def _myself() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        # Process ids are comparable only on one machine, since its start, within one container.
        "pids_of": [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            Path("/proc/self/ns/pid").stat().st_ino,
        ],
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "job": os.environ.get("SLURM_JOB_ID"),
    }


def _is_gone(entry: dict[str, Any]) -> bool:
    """Whether the holder has certainly ended; False if it runs elsewhere, where its process cannot be seen."""
    if entry["pids_of"] != _myself()["pids_of"]:
        return False
    try:
        process = psutil.Process(entry["pid"])
        return process.create_time() != entry["started"] or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _entry(file: Path) -> dict[str, Any] | None:
    """The holder that this file names; None for an empty file.

    A file damaged by a power failure counts as empty: no running process has written it.
    """
    try:
        return json.loads(file.read_text())
    except json.JSONDecodeError:
        return None


def holder(work: Path) -> dict[str, Any] | None:
    """The process that works in the folder.

    Returns:
        host, pid, job (Slurm's id, or None) and age_s (seconds since the last beat, by the file's time); None if there
        is no holder, or it has certainly ended.
    """
    _, file = _latest(folder_of(work))
    if file is None or (entry := _entry(file)) is None or _is_gone(entry):
        return None
    return entry | {"age_s": time.time() - file.stat().st_mtime}


def describe(entry: dict[str, Any]) -> str:
    """A holder in words."""
    job = f"Slurm job {entry['job']}, " if entry["job"] else ""
    return f"{job}process {entry['pid']} on {entry['host']}"


class Lease:
    """One process's claim to a folder; use `hold`."""

    def __init__(self, work: Path) -> None:
        self.folder, self.number, self.lost = folder_of(work), 0, False
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def file(self) -> Path:
        return self.folder / f"{self.number}.json"

    def take(self, number: int) -> bool:
        """Become the holder with this number; False if another process has taken it.

        Raises:
            UserError: the file system has no hard links.
        """
        self.number = number
        new = self.folder / f".{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}"
        new.write_text(json.dumps(_myself()))
        try:
            os.link(new, self.file)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            raise UserError(
                f"{self.folder}: this file system has no hard links ({os.strerror(error.errno)}), which keep two "
                "processes apart. Make `results` a link to a folder on one that has them."
            ) from None
        finally:
            new.unlink()
        return True

    def beat(self) -> None:
        """Touch the file, and set `lost` if it is gone or no longer the latest."""
        try:
            os.utime(self.file)
        except FileNotFoundError:
            self.lost = True
        except OSError:  # the file system does not answer: try again at the next beat
            return
        self.lost = self.lost or _latest(self.folder)[0] > self.number

    def free(self) -> None:
        """Release the folder."""
        with suppress(FileNotFoundError):  # the folder was removed
            os.truncate(self.file, 0)


def _wait(lease: Lease, refuse: Callable[[dict[str, Any]], str] | None, report: Callable[[str], None]) -> None:
    """Take the lease once its holder has released it or is dead; raises UserError at once if `refuse` is given."""
    seen: tuple[Any, ...] = ()
    since, reported = 0.0, False
    while True:
        number, file = _latest(lease.folder)
        if file is None or (entry := _entry(file)) is None:
            if lease.take(number + 1):
                return
            continue
        beat = (number, file.stat().st_mtime_ns)
        if beat != seen:
            seen, since = beat, time.monotonic()
        dead = _is_gone(entry)
        if dead or time.monotonic() - since > STALE_SECONDS:
            if not dead:
                report(f"{describe(entry)} has not responded for {STALE_SECONDS:.0f} s: taking over")
            if lease.take(number + 1):
                return
            continue
        if refuse:
            raise UserError(refuse(entry))
        if not reported:
            report(f"{describe(entry)} is working in {lease.folder.with_suffix('')}: waiting for its end")
            reported = True
        time.sleep(POLL_SECONDS)


def _end(lease: Lease, report: Callable[[str], None]) -> None:
    """Kill this process, which must not write any more. egpo.runtime.guard then ends what it has started."""
    report(f"another process has taken {lease.folder.with_suffix('')} over: ending")
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def hold(
    work: Path,
    report: Callable[[str], None],
    refuse: Callable[[dict[str, Any]], str] | None = None,
) -> Iterator[Lease]:
    """Hold the folder `work` exclusively while the block runs.

    This process is killed if it loses the lease, which happens after it was frozen for minutes.

    Args:
        work: the folder; it need not exist.
        report: called with a line when this process waits, takes over, or ends.
        refuse: the message for a folder that is held (the argument is its holder). By default, wait for its end.

    Raises:
        UserError: the folder is held and `refuse` is given.
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
