"""Watching a training: its progress, its limits, and why it ended."""

from __future__ import annotations

import math
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from egpo.common.errors import UserError
from egpo.runtime import out_of_memory, stacks
from egpo.runtime.job import duration
from egpo.training import checkpoints
from egpo.training.limits import Limits
from egpo.training.process import guarded
from egpo.training.progress import ERROR, FAILURE, HEARTBEAT, REWARD, SAVED_AND_ENDED, STOP, read_lines, read_phase

Report = Callable[[str], None]
POLL_SECONDS = 0.5
TERM_SECONDS = 25  # after SIGTERM; Slurm's default is to kill after 30


def watch(config: DictConfig, work: Path, start: int, steps: int, limits: Limits, report: Report) -> None:
    """Run a training to its end, and report its progress.

    Args:
        config: verl's settings of the training, which are also in `work/verl.yaml`.
        work: folder of its checkpoints, metrics and heartbeat.
        start: the step it resumes after.
        steps: steps of the whole training.
        limits: when it is stopped.

    Raises:
        UserError: a limit was reached, the trainer failed with a message for the user, or the disk is full.
        SystemExit: SIGTERM came.
        RuntimeError: the trainer failed otherwise.
    """
    progress = Progress(work, start, steps, report)
    ending: BaseException | None = None
    kills = out_of_memory.kills()
    deadline = math.inf
    with _sigterm() as term, guarded(config, work / "verl.yaml") as (guard, folder):
        while guard.poll() is None:
            time.sleep(POLL_SECONDS)
            progress.update()
            if progress.silence > limits.stall:
                with suppress(OSError):  # a full disk must not hide the error below
                    print(stacks.collect(guard.pid, folder), file=sys.stderr, flush=True)
                what = f"showed no progress for {duration(limits.stall)}"
                raise UserError(f"{_stopped(work, what, 'stall_minutes')} Where its processes stood is in the log.")
            if term.is_set() and not isinstance(ending, SystemExit):
                ending = SystemExit(128 + signal.SIGTERM)
                deadline = time.monotonic() + _ask_to_save(work, progress, TERM_SECONDS)
            elif progress.seconds > limits.time and ending is None:
                ending = UserError(_stopped(work, f"took longer than {duration(limits.time)}", "minutes"))
                deadline = time.monotonic() + _ask_to_save(work, progress, limits.grace)
            if ending and time.monotonic() > deadline:
                raise ending
    progress.update()
    if guard.returncode == SAVED_AND_ENDED and ending:
        report(f"saved after step {progress.done}")
        raise ending
    if guard.returncode:
        raise _failure(config, work, guard.returncode, out_of_memory.kills() - kills)


@contextmanager
def _sigterm() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, instead of ending this process."""
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = signal.signal(signal.SIGTERM, lambda *_: came.set())
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


def _ask_to_save(work: Path, progress: Progress, grace: float) -> float:
    """Ask the trainer to save after its current step; returns the seconds it gets, 0 if no step is under way."""
    if not progress.in_a_step:
        return 0
    (work / STOP).touch()
    return grace


def _stopped(work: Path, what: str, key: str) -> str:
    phase = read_phase(work / HEARTBEAT) or "start-up"
    return f"the training {what} (at '{phase}') and was stopped. Run again to resume; jobs.train.{key} is the limit."


def _failure(config: DictConfig, work: Path, code: int, kills: int) -> Exception:
    """Why the trainer ended with an exit code other than 0. kills: of the kernel for memory, meanwhile."""
    message, phase = work / FAILURE, read_phase(work / HEARTBEAT) or "start-up"
    if message.exists():
        return UserError(message.read_text())
    error = (work / ERROR).read_text() if (work / ERROR).exists() else ""
    if out_of_memory.says_so(error) or kills:
        return UserError(f"out of memory at '{phase}'. {_memory_remedy(config, error)} Run again to resume.")
    # torch and Ray fail on a full disk with errors that do not mention it.
    free, needed = shutil.disk_usage(work).free, checkpoints.largest(config.trainer.default_local_dir)
    if free < needed:
        return UserError(
            f"the training ended at '{phase}' and there is no space left: {work} has {free / 1e6:,.0f} MB, "
            f"a checkpoint takes {needed / 1e6:,.0f} MB. Make some and run again to resume."
        )
    return RuntimeError(
        f"verl's trainer ended with code {code} at '{phase}'; "
        "the first error above in this log is the cause. Run again to resume."
    )


def _memory_remedy(config: DictConfig, error: str) -> str:
    """The keys to change. error: the text of the training's error, empty where the kernel has killed a process."""
    tokens = config.actor_rollout_ref.actor.ppo_max_token_len_per_gpu
    if config.trainer.device == "cpu":
        return (
            f"Micro batches of {tokens} tokens follow from jobs.train.memory_gib: lower it to what this training can "
            "have, run nothing beside it, or shorten max_prompt_length and max_response_length of the backbone."
        )
    if not error:
        return "The kernel has killed a process: raise jobs.train.memory_gib, which is the memory of the host."
    return (
        "Lower training.gpu_memory_utilization, which is vLLM's share of a GPU, or training.gpu_gib, from which micro "
        f"batches of {tokens} tokens follow, or use more GPUs (training.gpus_per_node)."
    )


class Progress:
    """Reports heartbeat and metrics of a training as lines of text."""

    def __init__(self, work: Path, start: int, steps: int, report: Report) -> None:
        self._metrics, self._heartbeat = work / "metrics.jsonl", work / HEARTBEAT
        self._steps, self._report, self.done = steps, report, start
        self._began = self._moved = time.monotonic()
        self._phase: str | None = None
        self._times: list[float] = []

    @property
    def seconds(self) -> float:
        """Since the start of this attempt."""
        return time.monotonic() - self._began

    @property
    def silence(self) -> float:
        """Seconds since the last progress."""
        return time.monotonic() - self._moved

    @property
    def in_a_step(self) -> bool:
        return bool(self._phase and self._phase.startswith("step"))

    def update(self) -> None:
        """Read heartbeat and metrics, and report what is new."""
        phase = read_phase(self._heartbeat)
        if phase != self._phase:
            self._phase, self._moved = phase, time.monotonic()
            if phase and not phase.startswith("step"):
                self._report(f"{phase} ({duration(self.seconds)} since the start)")
        for line in read_lines(self._metrics):
            if line["step"] > self.done and REWARD in line:
                self._step(line)

    def _step(self, line: dict[str, Any]) -> None:
        self.done, self._moved = line["step"], time.monotonic()
        self._times = [*self._times, line["timing_s/step"]][-10:]
        # The median, as the first step is slower.
        pace = sorted(self._times)[len(self._times) // 2]
        left = pace * (self._steps - self.done)
        self._report(
            f"step {self.done}/{self._steps}, reward {line[REWARD]:.2f}, {pace:.1f} s a step, {duration(left)} left"
        )
