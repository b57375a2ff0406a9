"""Why a job ended, in one line: found in its own log, or in what Slurm wrote."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

ANSI = re.compile(r"\x1b\[[0-9;]*m")
# egpo.runtime.job's last words. A progress bar may stand before them on the same line.
VERDICT = re.compile(r"\[\d\d:\d\d:\d\d\] [^:]+: (error|failed): (.*)")
STOPPED = re.compile(r"^stopped by SIGTERM|: interrupted; run the same command", re.MULTILINE)
# Whose line it is, by Ray and vLLM: "(WorkerDict pid=7, ip=10.0.0.2) ", then "ERROR 07-01 10:00:00 [core.py:70] ".
STREAM = re.compile(r"(?:\([^()]*\bpid=[^()]*\) ?)+")
LOGGED = re.compile(r"(?:ERROR|CRITICAL) [\d-]+ [\d:,.]+ \[[^\]]*\] ")
FRAME = re.compile(r'\s+File ".*", line \d+')
EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(?:\([\w.]+\))?(?:: .*|:?)")
CHAINED = ("During handling of the above", "The above exception was the direct")
# They carry an error from elsewhere, or point at it.
WRAPPER = re.compile(r"ray::|EngineDeadError|root cause above|in this log is the cause|output is in the log")
# From a mere "CANCELLED" to the reasons for it.
BY_SLURM = [
    re.compile(rf"^(?:slurmstepd|srun): .*(?:{words}).*", re.IGNORECASE | re.MULTILINE)
    for words in ("CANCELLED AT", "DUE TO|oom[-_]kill|Out Of Memory|Node failure")
]


@dataclass
class Raised:
    """An exception of a traceback, the first of its chain. own: printed by the job's process, not by one of Ray's."""

    own: bool
    text: str

    @property
    def wrapper(self) -> bool:
        return WRAPPER.search(self.text) is not None


@dataclass
class Stream:
    """How far the lines of one process are read."""

    frames: bool = False  # inside of a traceback
    chained: bool = False  # the next exception followed from the one before
    ignored: bool = False  # the next exception is one that Python has ignored
    last: Raised | None = None  # the line before this one


def _exceptions(lines: list[str]) -> list[Raised]:
    """The root of every traceback. Those of several processes may be mixed line by line."""
    found: list[Raised] = []
    streams: dict[str, Stream] = defaultdict(Stream)
    for line in lines:
        name = match.group() if (match := STREAM.match(line)) else ""
        stream, text = streams[name], LOGGED.sub("", line[len(name) :], count=1)
        before, stream.last = stream.last, None
        if FRAME.match(text):
            stream.frames = True
        elif before and text[:1].isspace() and text.strip():  # pydantic says on the next line what is wrong
            before.text += f" {text.strip()}"
        elif text.startswith(CHAINED):
            stream.chained = True
        elif text.startswith("Exception ignored in"):
            stream.ignored = True
        elif stream.frames and text[:1].strip():
            if EXCEPTION.fullmatch(text) and not (stream.chained or stream.ignored):
                stream.last = Raised(not name, text)
                found.append(stream.last)
            stream.frames = stream.chained = stream.ignored = False
    return found


def _root(raised: list[Raised]) -> str | None:
    """The cause among the exceptions of a log: the job's own last one, else one that its wrappers point at."""
    own = [one.text for one in raised if one.own and not one.wrapper]
    if own:
        return own[-1]
    # What other processes print after the job's own error is their end, not its cause; but Ray may be late with it.
    pointer = next((number for number, one in enumerate(raised) if one.own), len(raised))
    before, after = ([one.text for one in part if not one.wrapper] for part in (raised[:pointer], raised[pointer:]))
    if before or after:
        return before[-1] if before else after[0]
    return raised[0].text if raised else None


def root_cause(log: str) -> str | None:
    """The line of a job's log that says why it failed; None where it did not fail, or was stopped from outside.

    That is a message for the user where there is one, else the root of the last traceback: the first exception of a
    chain, and not one that only carries another process' error (Ray) or points at it (vLLM's engine).
    """
    text = ANSI.sub("", log).replace("\r\n", "\n").replace("\r", "\n")
    kind, message = ([("", ""), *VERDICT.findall(text)])[-1]
    if kind == "error":
        return message
    if not kind and STOPPED.search(text):
        return None
    return _root(_exceptions(text.split("\n"))) or message or None


def slurm_line(log: str) -> str | None:
    """The line of Slurm's own log that says how it ended a job (time limit, memory, node); None without one."""
    found = [line for pattern in BY_SLURM for line in pattern.findall(log)]
    return found[-1] if found else None
