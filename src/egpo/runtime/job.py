"""What every rule's script runs in: a log file, progress on the terminal, and readable failures."""

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
    """Progress for a person: short lines on the terminal, and the same lines in the log."""

    def __init__(self, name: str, terminal: int) -> None:
        self.name = name
        self._terminal = terminal

    def __call__(self, message: str) -> None:
        for line in message.splitlines():
            text = f"[{time.strftime('%H:%M:%S')}] {self.name}: {line}\n".encode()
            os.write(self._terminal, text)
            os.write(2, text)


def duration(seconds: float) -> str:
    """'45 s', '3 min 20 s', '2 h 05 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def end_with_driver() -> None:
    """Send this process SIGTERM once the Snakemake that started it is gone.

    A driver that is killed cannot stop its jobs; they would go on beside those of its successor.
    """
    driver = next((process for process in psutil.Process().parents() if "snakemake" in process.name()), None)
    if driver is None:  # run by hand
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
    """Send all output of this process and its children to `log`; report on the terminal.

    The log of an attempt that failed stays as `<log>.previous` when the next begins; Snakemake removes `log` itself.
    A UserError ends the process with its message alone, an interrupt (Ctrl-C) with one line. Any other exception
    leaves its traceback in the log and one line on the terminal.
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
    # As an exception, so that `finally` blocks end what the stage has started.
    signal.signal(signal.SIGTERM, _terminate)
    end_with_driver()
    try:
        yield report
    except UserError as error:
        report(f"error: {error}")
        sys.exit(1)
    except Exception as error:
        traceback.print_exc()
        report(f"failed: {type(error).__name__}: {error}\nThe whole story is in {log}")
        sys.exit(1)
    except KeyboardInterrupt:
        report("interrupted; run the same command again to go on")
        sys.exit(130)
    second_name.unlink(missing_ok=True)
