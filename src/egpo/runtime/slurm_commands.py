"""Slurm's commands as the executor plug-in calls them, made patient: `slurm/bin/` has one for each name.

The plug-in (2.6.1, and still 2.8.0) forgets every active job when `sacct` fails for a while, does not take
`CANCELLED by 1000` for an end, waits forever for a preempted job that Slurm has cancelled, excludes a node named
`None assigned` from all later submissions when a node was lost whose job Slurm runs again, and gives a job up at the
first `sbatch` that fails. A driver puts `slurm/bin/` first in its PATH. Only the standard library: a query starts fast.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

BIN = Path(__file__).resolve().parents[3] / "slurm" / "bin"
QUERY_SECONDS = 20  # for one command; the plug-in waits 60 s for all of a query
FIRST_PAUSE, LONGEST_PAUSE, ENOUGH = 5.0, 300.0, 3 * 3600.0  # seconds between submissions, and of all together
# What sbatch says when Slurm is too busy or away, in the words of slurm_errno.c; all else is the user's to correct.
PASSING = (
    "Socket timed out",
    "Unable to contact slurm controller",
    "Slurm temporarily unable",
    "Slurm controller not responding",
    "Slurm backup controller",
    "Communication connection failure",
    "Connection refused",
    "Connection timed out",
    "Zero Bytes were transmitted",
    "Transport endpoint is not connected",
    "Resource temporarily unavailable",
    "Protocol authentication error",
    "Unexpected message",
    "Unable to connect to database",
)
ENDED = {"REVOKED", "LAUNCH_FAILED", "RECONFIG_FAIL", "EXPIRED"}  # that the plug-in does not know as ends
LOST = {"PREEMPTED", "NODE_FAIL"}  # Slurm has taken the job from its node, and may run it again
Run = tuple[int, str, str]  # exit status, stdout, stderr


def first_in(path: str) -> str:
    """A PATH with our commands before Slurm's, which they call."""
    return os.pathsep.join([str(BIN), *(folder for folder in path.split(os.pathsep) if folder != str(BIN))])


def put_first() -> None:
    """For this process and all that it starts: the executor plug-in finds Slurm's commands by PATH."""
    os.environ["PATH"] = first_in(os.environ.get("PATH", os.defpath))
    os.environ["EGPO_PYTHON"] = sys.executable


def call(name: str, arguments: list[str], given: str | None = None, seconds: float | None = None) -> Run:
    """Slurm's own command, found after `slurm/bin/` in PATH."""
    folders = [folder for folder in os.get_exec_path() if Path(folder).resolve() != BIN]
    environment = {**os.environ, "PATH": os.pathsep.join(folders)}
    try:
        run = subprocess.run(
            [name, *arguments], input=given, capture_output=True, text=True, timeout=seconds, env=environment
        )
    except FileNotFoundError:
        return 127, "", f"{name}: command not found\n"
    except subprocess.TimeoutExpired:
        return 124, "", f"{name}: no answer within {seconds:.0f} s\n"
    return run.returncode, run.stdout, run.stderr


def value_of(option: str, arguments: list[str]) -> str | None:
    """The value behind an option, or after its sign of equality."""
    for position, argument in enumerate(arguments):
        if argument == option:
            return arguments[position + 1] if position + 1 < len(arguments) else None
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
    return None


# --- states ----------------------------------------------------------------------------------------


def rows_of(lines: str) -> dict[str, str]:
    """The state of each job, from lines of `job|state`. All else, such as a site's banner, is left out."""
    rows = [[field.strip() for field in line.split("|")] for line in lines.splitlines()]
    return {row[0]: row[1] for row in rows if len(row) >= 2 and row[0][:1].isdigit() and row[1]}


def queued(name: str) -> tuple[dict[str, str] | None, str]:
    """What squeue says of a run's jobs until MinJobAge after their end, None if it does not answer; and its errors."""
    query = ["--noheader", "--states=all", "--format=%i|%T", "--name", name]
    status, out, error = call("squeue", query, seconds=QUERY_SECONDS)
    return None if status else rows_of(out), error


def known_state(state: str, now: str | None) -> str:
    """A state in words that the plug-in knows.

    Args:
        now: for a job that Slurm has taken from its node, its state by squeue, "" if that knows it no more, None if it
            does not answer: Slurm runs the job again (JobRequeue, PreemptMode=REQUEUE) or has ended it.
    """
    first = state.split(" ")[0].rstrip("+")  # "CANCELLED by 1000"; sacct marks by + what it has cut
    if first in LOST and now is not None:
        return now if now not in ("", first) else {"PREEMPTED": "CANCELLED"}.get(first, first)
    return "FAILED" if first in ENDED else first


def states(name: str, arguments: list[str]) -> Run:
    """Answer a query of the states of all jobs of a run, by sacct or squeue.

    Where sacct fails, squeue is asked instead. Where that fails too, the answer is empty: the plug-in goes on waiting
    for the jobs.
    """
    run = value_of("--name", arguments) or ""
    status, out, error = call(name, arguments, seconds=QUERY_SECONDS)
    found, now = rows_of(out), None
    if status or (name == "sacct" and LOST.intersection(found.values())):
        now, more = queued(run)
        error += more
    elif name == "squeue":
        now = found
    if status:
        found = now or {}
    known = {job: known_state(state, now.get(job, "") if now is not None else None) for job, state in found.items()}
    return 0, "".join(f"{job}|{state}\n" for job, state in known.items()), error


# --- submissions -----------------------------------------------------------------------------------


def submitted_before(arguments: list[str]) -> str | None:
    """The job of a submission whose answer was lost: in the queue under the same name and comment."""
    name, comment = value_of("--job-name", arguments), value_of("--comment", arguments)
    if name is None or comment is None:
        return None
    _, out, _ = call("squeue", ["--noheader", "--name", name, "--format=%i|%k"], seconds=QUERY_SECONDS)
    found = [line.partition("|") for line in out.splitlines()]
    return next((job.strip() for job, _, said in reversed(found) if said.strip() == comment), None)


def submit(arguments: list[str], given: str | None, sleep: Callable[[float], None] = time.sleep) -> Run:
    """Submit a job; again after a growing pause, for ENOUGH seconds, while Slurm is too busy or away."""
    pause, waited, lost = FIRST_PAUSE, 0.0, False
    while True:
        # An answer that was lost can belong to a submission that was not.
        if lost and (job := submitted_before(arguments)):
            return 0, f"{job}\n", ""
        status, out, error = call("sbatch", arguments, given)
        passing = status != 0 and any(words in error for words in PASSING)
        if not passing or waited >= ENOUGH:
            return status, out, f"{error}(tried for {waited:.0f} s)\n" if passing else error
        lost = True
        sleep(pause * random.uniform(0.8, 1.2))  # not all drivers of a cluster at once
        waited, pause = waited + pause, min(2 * pause, LONGEST_PAUSE)


def main(name: str, arguments: list[str]) -> int:
    if name == "sbatch":
        status, out, error = submit(arguments, None if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read())
    elif "--name" in arguments:
        status, out, error = states(name, arguments)
    else:
        status, out, error = call(name, arguments)
        out = out.replace("None assigned", "")  # as the node of a job that is in the queue again
    sys.stdout.write(out)
    sys.stderr.write(error)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
