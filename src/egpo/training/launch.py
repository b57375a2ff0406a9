"""Running one training under watch: start, progress, limits, resume, export."""

from __future__ import annotations

import itertools
import math
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from egpo.common.errors import UserError
from egpo.common.files import read_json, sha256, write_json, write_text
from egpo.common.hashing import stable_hash
from egpo.runtime.guard import descendants
from egpo.runtime.job import duration
from egpo.runtime.processes import SET_CHILD_SUBREAPER, prctl
from egpo.training import checkpoints
from egpo.training.cpu import cpu_environment
from egpo.training.limits import Limits
from egpo.training.nodes import ADDRESS, RUN_FOLDER, check_nodes
from egpo.training.progress import FAILURE, REWARD, SAVED_AND_ENDED, STOP, forget_after, read_lines, read_phase
from egpo.training.settings import as_text

Report = Callable[[str], None]
POLL_SECONDS = 0.5
SECONDS_TO_END = 60  # for the guard to end a tree of processes
OTHER_MAKERS = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
TERM_SECONDS = 25  # after SIGTERM; Slurm's default is to kill after 30


def train(config: DictConfig, out: Path, work: Path, limits: Limits, report: Report) -> None:
    """Run verl on `config` (of egpo.training.settings.verl_config) until its last step.

    Resumes from the latest whole checkpoint in `work` if it belongs to the same settings and files. At the time limit
    and at SIGTERM it saves, if there is time for that.
    Writes out/verl.yaml at once, out/model (Hugging Face format) and out/metrics.jsonl in the end. No process is
    left behind, however this one ends. Raises UserError when a limit is reached or verl refuses the settings, and
    RuntimeError when the training fails; its story is then in this process' standard error.
    """
    check_nodes(config.trainer.nnodes)
    if Path(config.egpo_run.work) != work.absolute():
        raise ValueError(f"config was made for {config.egpo_run.work}, not for {work}")
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "verl.yaml", as_text(config))
    steps = total_steps(config)
    start = _prepare(config, work, report)
    with open_dict(config):
        config.trainer.val_before_train = start == 0
    if start < steps:
        OmegaConf.save(config, work / "verl.yaml", resolve=True)
        _watch(config, work, start, limits, report)
    _export(config, checkpoints.folder_of(config.trainer.default_local_dir, steps), out, work)
    checkpoints.keep_last(config.trainer.default_local_dir, 1)
    report(f"{steps} steps done, the model is in {out / 'model'}")


def total_steps(config: DictConfig) -> int:
    """Optimiser steps of the whole training, as verl counts them."""
    if config.trainer.total_training_steps is not None:
        return config.trainer.total_training_steps
    from pyarrow.parquet import read_metadata

    rows = read_metadata(config.data.train_files).num_rows
    return rows // config.data.train_batch_size * config.trainer.total_epochs


# --- before ----------------------------------------------------------------------------------------


def _identity(config: DictConfig) -> str:
    """Hash of what a checkpoint must agree with to be resumed: settings and the content of the files."""
    model = Path(config.actor_rollout_ref.model.path)
    files = [Path(config.data.train_files), Path(config.data.val_files), *sorted(model.glob("*.safetensors"))]
    settings = OmegaConf.to_container(config, resolve=True)
    del settings["trainer"]["save_freq"]  # changes no result
    return stable_hash([settings, [sha256(file) for file in files]])


def _prepare(config: DictConfig, work: Path, report: Report) -> int:
    """Put `work` in order; the step to resume from, 0 for a new start."""
    work.mkdir(parents=True, exist_ok=True)
    mark, identity = work / "identity.json", _identity(config)
    if mark.exists() and read_json(mark) != identity:
        aside = _set_aside(work)
        report(
            "settings, code or inputs differ from those of the checkpoints: starting anew. "
            f"The old work is kept in {aside}; once it is not needed: rm -r {aside}"
        )
        work.mkdir()
    write_json(mark, identity)
    start = checkpoints.repair(config.trainer.default_local_dir, report)
    forget_after(Path(config.egpo_run.metrics), start if start else -1)
    for stale in (FAILURE, "heartbeat.json", STOP):
        (work / stale).unlink(missing_ok=True)
    if start:
        report(f"resuming after step {start}")
    return start


def _set_aside(work: Path) -> Path:
    """Rename a folder of work; the new name."""
    numbers = itertools.count(1)
    aside = next(place for number in numbers if not (place := work.with_name(f"{work.name}.old-{number}")).exists())
    return work.rename(aside)


# --- during ----------------------------------------------------------------------------------------


def _environment(config: DictConfig, folder: str) -> dict[str, str]:
    """The environment of the training's processes: defaults, then what the user has set, then what must be."""
    defaults = {
        "TOKENIZERS_PARALLELISM": "true",
        "NCCL_DEBUG": "WARN",
        "VLLM_LOGGING_LEVEL": "WARN",
        "VLLM_DISABLE_COMPILE_CACHE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "HF_HUB_OFFLINE": "1",  # everything is in local folders
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else Ray writes one into the home folder
        "VLLM_API_KEY": secrets.token_hex(32),  # nobody has it: verl talks to its vLLM through Ray
    }
    # Slurm may name the GPUs to all makers' programs at once, and verl refuses that.
    user = {key: value for key, value in os.environ.items() if key not in OTHER_MAKERS}
    needed = {"TENSORBOARD_DIR": config.egpo_run.tensorboard, RUN_FOLDER: folder}
    if config.trainer.nnodes == 1:  # the training has a Ray of its own
        user.pop(ADDRESS, None)
        needed["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's way to say: on the loopback interface only
    return {**defaults, **user, **needed, **(cpu_environment() if config.trainer.device == "cpu" else {})}


@contextmanager
def _sigterm() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, in place of ending this process."""
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = signal.signal(signal.SIGTERM, lambda *_: came.set())
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _guarded(config: DictConfig, work: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The training under its guard, ended with everything it started when the block is left."""
    # Short, as Ray's sockets have paths of at most 107 characters.
    folder = tempfile.mkdtemp(prefix="egpo-", dir="/tmp")
    command = [sys.executable, "-m", "egpo.runtime.guard", folder]
    command += [sys.executable, "-m", "egpo.verl_plugin.driver", str(work / "verl.yaml")]
    environment = _environment(config, folder)
    before = set(descendants(os.getpid()))
    prctl(SET_CHILD_SUBREAPER, 1)
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True)
    try:
        yield guard
    finally:
        guard.stdin.close()
        if guard.wait(SECONDS_TO_END) < 0:  # killed itself, so it has ended nothing
            _end_orphans(before)
            shutil.rmtree(folder, ignore_errors=True)
        prctl(SET_CHILD_SUBREAPER, 0)


def _end_orphans(before: set[int]) -> None:
    """Kill what a dead guard has left: it has become ours, as this process is the next reaper above it."""
    while found := set(descendants(os.getpid())) - before:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def _watch(config: DictConfig, work: Path, start: int, limits: Limits, report: Report) -> None:
    progress = Progress(work, start, total_steps(config), report)
    ending: BaseException | None = None
    deadline = math.inf
    with _sigterm() as term, _guarded(config, work) as guard:
        while guard.poll() is None:
            time.sleep(POLL_SECONDS)
            progress.look()
            if progress.silence > limits.stall:
                raise UserError(_stopped(work, f"showed no progress for {duration(limits.stall)}", "stall_minutes"))
            if term.is_set() and not isinstance(ending, SystemExit):
                ending = SystemExit(128 + signal.SIGTERM)
                deadline = time.monotonic() + _ask_to_save(work, progress, TERM_SECONDS)
            elif progress.seconds > limits.time and ending is None:
                ending = UserError(_stopped(work, f"took longer than {duration(limits.time)}", "minutes"))
                deadline = time.monotonic() + _ask_to_save(work, progress, limits.grace)
            if ending and time.monotonic() > deadline:
                raise ending
    progress.look()
    if guard.returncode == SAVED_AND_ENDED and ending:
        report(f"saved after step {progress.done}")
        raise ending
    if guard.returncode:
        failure = work / FAILURE
        if failure.exists():
            raise UserError(failure.read_text())
        _check_disk(config, work)
        raise RuntimeError(
            f"verl's trainer ended with code {guard.returncode} at '{read_phase(work / 'heartbeat.json')}'; "
            "the first error above in this log is the cause. Run again to resume."
        )


def _check_disk(config: DictConfig, work: Path) -> None:
    """A full disk shows in torch and in Ray as errors that do not speak of it. Raises UserError where it is full."""
    free, needed = shutil.disk_usage(work).free, checkpoints.largest(config.trainer.default_local_dir)
    if free < needed:
        raise UserError(
            f"the training ended at '{read_phase(work / 'heartbeat.json')}' and there is no space left: {work} has "
            f"{free / 1e6:,.0f} MB, a checkpoint takes {needed / 1e6:,.0f} MB. Make some and run again to resume."
        )


def _ask_to_save(work: Path, progress: Progress, grace: float) -> float:
    """Ask the trainer to save after the step it is at; the seconds it gets, 0 if it is at none."""
    if not progress.at_a_step:
        return 0
    (work / STOP).touch()
    return grace


def _stopped(work: Path, what: str, key: str) -> str:
    phase = read_phase(work / "heartbeat.json") or "start-up"
    return f"the training {what} (at '{phase}') and was stopped. Run again to resume; jobs.train.{key} is the limit."


class Progress:
    """Turns heartbeat and metrics of a training into lines for a person."""

    def __init__(self, work: Path, start: int, steps: int, report: Report) -> None:
        self._metrics, self._heartbeat = work / "metrics.jsonl", work / "heartbeat.json"
        self._steps, self._report, self.done = steps, report, start
        self._began = self._moved = time.monotonic()
        self._phase: str | None = None
        self._times: list[float] = []

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def silence(self) -> float:
        return time.monotonic() - self._moved

    @property
    def at_a_step(self) -> bool:
        return bool(self._phase and self._phase.startswith("step"))

    def look(self) -> None:
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
        # The first step warms up: it tells nothing of the others.
        pace = sorted(self._times)[len(self._times) // 2]
        left = pace * (self._steps - self.done)
        self._report(
            f"step {self.done}/{self._steps}, reward {line[REWARD]:.2f}, {pace:.1f} s a step, {duration(left)} left"
        )


# --- after -----------------------------------------------------------------------------------------


def _export(config: DictConfig, checkpoint: Path, out: Path, work: Path) -> None:
    """Copy the model of the last checkpoint, the metrics and the settings to `out`, each whole."""
    source = checkpoint / "actor" / "huggingface"
    if not list(source.glob("*.safetensors")):
        raise RuntimeError(f"{source} holds no model: the last checkpoint is not what verl should have written")
    parts, model = out / ".model.part", out / "model"
    shutil.rmtree(parts, ignore_errors=True)
    shutil.copytree(source, parts)
    original = Path(config.actor_rollout_ref.model.path)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        if (original / name).exists():  # unchanged by training: the original is the better copy
            shutil.copy2(original / name, parts / name)
    shutil.rmtree(model, ignore_errors=True)
    parts.rename(model)
    write_text(out / "metrics.jsonl", Path(config.egpo_run.metrics).read_text())
