"""The context that every rule's script runs in: a log file, progress on the terminal, readable failures."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import psutil

from egpo.common.errors import UserError


class Reporter:
    """Writes progress as short lines, to the terminal and to the log."""

    def __init__(self, name: str, terminal: int) -> None:
        self.name = name
        self._terminal = terminal

    def __call__(self, message: str) -> None:
        for line in message.splitlines():
            text = f"[{time.strftime('%H:%M:%S')}] {self.name}: {line}\n".encode()
            with contextlib.suppress(OSError):  # a terminal that is gone is no reason to fail: the log has it too
                os.write(self._terminal, text)
            os.write(2, text)


def duration(seconds: float) -> str:
    """Seconds as text: '45 s', '3 min 20 s', '2 h 05 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def end_with_driver() -> None:
    """Send this process SIGTERM once the Snakemake that started it is gone.

    A killed Snakemake cannot stop its jobs: they would run beside those of the next one.
    """
    driver = next((process for process in psutil.Process().parents() if "snakemake" in process.name()), None)
    if driver is None:  # started without Snakemake
        return

    def watch() -> None:
        while driver.is_running() and driver.status() != psutil.STATUS_ZOMBIE:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _terminate(*_: object) -> None:
    raise SystemExit("stopped by SIGTERM")


@contextlib.contextmanager
def job_context(name: str, log: str | Path) -> Iterator[Reporter]:
    """Send all output of this process and its children to `log`, and progress also to the terminal.

    Ends the process with code 1 at an exception: a UserError is reported as its message alone, any other one by a line,
    with its traceback in the log. An interrupt (Ctrl-C) ends it with code 130. The log of a failed attempt is kept as
    `<log>.previous` when the next attempt begins, since Snakemake removes `log`.

    Args:
        name: the job's name in its progress lines.
        log: path of the log file.

    Yields:
        A function that reports a line of progress.
    """
    log = Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    second_name = Path(f"{log}.unfinished")
    if second_name.exists():
        second_name.replace(f"{log}.previous")
    log.unlink(missing_ok=True)
    terminal = os.dup(2)
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.link(log, second_name)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    report = Reporter(name, terminal)
    # Raised as an exception, so that `finally` blocks end what the job has started.
    signal.signal(signal.SIGTERM, _terminate)
    end_with_driver()
    try:
        yield report
    except UserError as error:
        report(f"error: {error}")
        sys.exit(1)
    except Exception as error:
        traceback.print_exc()
        report(f"failed: {type(error).__name__}: {error}\nThe traceback is in {log}")
        sys.exit(1)
    except KeyboardInterrupt:
        report("interrupted; run the same command again to go on")
        sys.exit(130)
    second_name.unlink(missing_ok=True)
