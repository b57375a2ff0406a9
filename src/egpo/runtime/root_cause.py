"""Why a job ended, in one line: from its own log, or from Slurm's."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

ANSI = re.compile(r"\x1b\[[0-9;]*m")
# The last line by egpo.runtime.job. A progress bar may precede it on the same line.
VERDICT = re.compile(r"\[\d\d:\d\d:\d\d\] [^:]+: (error|failed): (.*)")
STOPPED = re.compile(r"^stopped by SIGTERM|: interrupted; run the same command", re.MULTILINE)
# Prefixes by Ray and vLLM: "(WorkerDict pid=7, ip=10.0.0.2) ", then "ERROR 07-01 10:00:00 [core.py:70] ".
STREAM = re.compile(r"(?:\([^()]*\bpid=[^()]*\) ?)+")
LOGGED = re.compile(r"(?:ERROR|CRITICAL) [\d-]+ [\d:,.]+ \[[^\]]*\] ")
FRAME = re.compile(r'\s+File ".*", line \d+')
EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(?:\([\w.]+\))?(?:: .*|:?)")
CHAINED = ("During handling of the above", "The above exception was the direct")
# Exceptions that carry an error of another process, or refer to it.
WRAPPER = re.compile(r"ray::|EngineDeadError|root cause above|in this log is the cause|output is in the log")
# The later pattern is the more specific one.
BY_SLURM = [
    re.compile(rf"^(?:slurmstepd|srun): .*(?:{words}).*", re.IGNORECASE | re.MULTILINE)
    for words in ("CANCELLED AT", "DUE TO|oom[-_]kill|Out Of Memory|Node failure")
]


@dataclass
class Raised:
    """The first exception in the chain of a traceback.

    Attributes:
        from_job: printed by the job's process, not by one of Ray's.
    """

    from_job: bool
    text: str

    @property
    def wrapper(self) -> bool:
        return WRAPPER.search(self.text) is not None


@dataclass
class Stream:
    """State of reading the lines of one process."""

    frames: bool = False  # inside a traceback
    chained: bool = False  # the next exception was caused by the one before
    ignored: bool = False  # the next exception was ignored by Python
    last: Raised | None = None  # the exception on the previous line


def _exceptions(lines: list[str]) -> list[Raised]:
    """The first exception of each traceback; lines of several processes may be interleaved."""
    found: list[Raised] = []
    streams: dict[str, Stream] = defaultdict(Stream)
    for line in lines:
        name = match.group() if (match := STREAM.match(line)) else ""
        stream, text = streams[name], LOGGED.sub("", line[len(name) :], count=1)
        before, stream.last = stream.last, None
        if FRAME.match(text):
            stream.frames = True
        elif before and text[:1].isspace() and text.strip():  # pydantic's details are on the following line
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
    """The cause among the exceptions of a log: the job's last one, else one that its wrappers refer to."""
    direct = [one.text for one in raised if one.from_job and not one.wrapper]
    if direct:
        return direct[-1]
    # Errors of other processes after the job's wrapper are usually consequences; but Ray may print the cause late.
    wrapper = next((number for number, one in enumerate(raised) if one.from_job), len(raised))
    before, after = ([one.text for one in part if not one.wrapper] for part in (raised[:wrapper], raised[wrapper:]))
    if before or after:
        return before[-1] if before else after[0]
    return raised[0].text if raised else None


def root_cause(log: str) -> str | None:
    """Why a job failed, in one line of its log.

    That is the message of a UserError, else the first exception in the chain of the last traceback. Exceptions that
    only carry another process's error (Ray) or refer to it (vLLM's engine) are skipped.

    Returns:
        The line; None if the job did not fail or was stopped from outside.
    """
    text = ANSI.sub("", log).replace("\r\n", "\n").replace("\r", "\n")
    kind, message = ([("", ""), *VERDICT.findall(text)])[-1]
    if kind == "error":
        return message
    if not kind and STOPPED.search(text):
        return None
    return _root(_exceptions(text.split("\n"))) or message or None


def slurm_line(log: str) -> str | None:
    """The line of Slurm's log that says why it ended a job (time limit, memory, node); None if there is none."""
    found = [line for pattern in BY_SLURM for line in pattern.findall(log)]
    return found[-1] if found else None
