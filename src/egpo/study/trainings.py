"""The trainings of a study that are under way, each in a fork of this process, and their way to the CSV."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import traceback
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import NoReturn

from egpo.common import git
from egpo.common.files import read_json, write_json
from egpo.runtime.job import duration, job_context
from egpo.runtime.processes import end_with_parent
from egpo.study import rows, steps
from egpo.study.csv_file import Row
from egpo.study.request import Request, Training

INTERRUPTED = (130, 143, -signal.SIGTERM, -signal.SIGINT)
SIGNALS = {signal.SIGTERM, signal.SIGINT}


def say(message: str) -> None:
    """A line on the terminal, if that is still there."""
    with suppress(OSError):
        print(message, flush=True)


def ignore_signals() -> None:
    """From now on: a second one must not abandon trainings that are saving."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class Trainings:
    """The forks that are under way. A result is a file until its row is in the CSV, so that no end can lose it.

    Attributes:
        failures: failed trainings in a row, up to the last that ended.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._running: dict[int, Training] = {}
        self._commit = git.current()
        self.failures = 0

    def __len__(self) -> int:
        return len(self._running)

    def start(self, training: Training) -> None:
        """Train and measure in a fork."""
        result = self._result(training)
        result.unlink(missing_ok=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the fork is not to meet one with this process's handlers
        me = os.getpid()
        pid = os.fork()
        if pid == 0:
            end_with_parent(me, signal.SIGTERM)  # not to go on beside the next run of the command
            _train_and_measure(self._request, training, self._known(training), result)
        self._running[pid] = training
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def end_one(self) -> bool:
        """Wait for one, and append its row; False if it was interrupted."""
        pid, status = os.waitpid(-1, 0)
        training = self._running.pop(pid, None)
        if training is None:  # a process that a fork has left behind
            return True
        result, code = self._result(training), os.waitstatus_to_exitcode(status)
        if not result.exists():
            if code in INTERRUPTED:
                return False
            write_json(result, self._known(training) | {"status": "failed", "reason": f"ended with code {code}"})
        self.failures = 0 if self._append(result) else self.failures + 1
        return True

    def end_all(self) -> None:
        """Ask all to save and end. The next run goes on from there, and takes the rows of those that had finished."""
        ignore_signals()
        for pid in self._running:
            os.kill(pid, signal.SIGTERM)
        while self._running:
            pid, _ = os.waitpid(-1, 0)
            self._running.pop(pid, None)

    def take_finished(self) -> None:
        """Append what an earlier run has finished and not appended, if it would be trained now as it was then."""
        for training in self._request.left():
            result = self._result(training)
            if result.exists():
                row, known = read_json(result), self._known(training)
                if all(row.get(name) == known[name] for name in rows.ORIGIN):
                    say(f"{' '.join(map(str, training))}: had finished, and has its row now")
                    self._append(result)

    def _known(self, training: Training) -> Row:
        """The columns of a row that do not depend on how the training ends."""
        row = dict(zip(rows.TRAINING, training, strict=True))
        row |= zip(rows.ORIGIN, self._request.origins[training[0]], strict=True)
        made = {"commit": self._commit, "command": self._request.command, "date": date.today().isoformat()}
        return row | {"at_once": self._request.at_once} | made

    def _append(self, result: Path) -> bool:
        """Move a result into the CSVs; returns whether the training has ended well."""
        row, out = read_json(result), self._request.out
        if of_steps := row.pop("of_steps", None):
            steps.append(out, row, of_steps)  # first: a row is never without its steps
        rows.append(out, row)
        result.unlink()
        if self._request.commit:
            files = [file for file in (out, steps.file_of(out)) if file.exists()]
            message = f"Study: {row['method']}, seed {row['seed']}, on {row['backbone']}"
            if why := git.commit(files, message):
                say(f"warning: this row is not committed; the next commit has it. {why}")
        return row["status"] == "ok"

    def _result(self, training: Training) -> Path:
        return self._request.folder / "rows" / f"{'-'.join(map(str, training))}.json"


def _train_and_measure(request: Request, training: Training, known: Row, result: Path) -> NoReturn:
    """The body of a fork: write the row to `result`, and end. An interruption writes none.

    Args:
        known: columns of the row.
    """
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's; the parent passes it on as SIGTERM, which saves
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        backbone, method, seed, attempt = training
        start = time.monotonic()
        name = f"{backbone} {method} seed {seed}"
        with job_context(name, request.folder / "logs" / f"{backbone}-{method}-{seed}-{attempt}.log") as report:
            try:
                from egpo.study import measure

                questions = measure.read_questions(request.questions)
                row, of_steps, work = measure.measure(request.catalogue, backbone, method, seed, questions, report)
                row["seconds"] = time.monotonic() - start
                write_json(result, known | {"status": "ok"} | row | {"of_steps": of_steps})
                report(f"greedy {row['greedy']:.3f}, sampled {row['sampled']:.3f}, {duration(row['seconds'])}")
                if work is not None:
                    shutil.rmtree(work, ignore_errors=True)
            except Exception as error:
                if not result.exists():
                    reason = f"{type(error).__name__}: {error}"[:300]
                    write_json(result, known | {"status": "failed", "reason": reason})
                raise
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 143
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
