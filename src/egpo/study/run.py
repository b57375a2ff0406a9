"""The trainings of a study, one after another: `python -m egpo.study.run request.json`, started by `egpo study`.

This process imports torch, verl and vLLM once, and does nothing else: each training is a fork of it
(egpo.runtime.forks) that trains, asks the trained model the held-out questions and writes a row. So a start takes
seconds, and changes no result.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from egpo.common.files import read_json, sha256, write_json
from egpo.common.paths import ROOT, Paths
from egpo.common.provenance import stage_code
from egpo.config.experiment import Catalogue
from egpo.runtime import forks
from egpo.runtime.fork_server import NO_JOB
from egpo.runtime.job import duration, job_context
from egpo.runtime.processes import SET_PDEATHSIG, prctl
from egpo.study import blocks, rows
from egpo.verl_plugin.cpu.modules import MODULES

INTERRUPTED = (130, 143, -signal.SIGTERM, -signal.SIGINT)
# Beside those of a training's workers: of its driver, of vLLM's offline engine, and of this package.
FURTHER = (
    "egpo.verl_plugin.driver",
    "egpo.inference.engine_process",
    "vllm.entrypoints.llm",
    "vllm.v1.engine.llm_engine",
    "vllm.v1.worker.cpu_worker",
    "vllm.model_executor.models.qwen2",
    "transformers.models.qwen2.modeling_qwen2",
    "egpo.study.measure",
)
Training = tuple[str, str, int, int]  # backbone, method, seed, attempt


@dataclass(frozen=True)
class Request:
    """What `egpo study` asks for.

    Attributes:
        out: the CSV.
        questions: file of egpo.study.measure.Questions.
        at_once: trainings at the same time.
        commit: whether to commit the CSV after each row.
        command: that was given.
    """

    catalogue: Catalogue
    out: Path
    questions: Path
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    at_once: int
    commit: bool
    command: str

    @classmethod
    def read(cls, file: Path) -> Request:
        values: dict[str, Any] = read_json(file)
        values |= {name: Path(values[name]) for name in ("out", "questions")}
        values |= {"catalogue": Catalogue.model_validate(values["catalogue"])}
        return cls(**values | {name: tuple(values[name]) for name in ("methods", "seeds")})

    @property
    def folder(self) -> Path:
        """For logs, and for the rows on their way to the CSV."""
        return Paths(self.catalogue.experiment.experiment).root / "study"

    def left(self) -> list[Training]:
        """The trainings that have no row yet."""
        return blocks.left(rows.read(self.out), self.origins, self.methods, self.seeds)

    @cached_property
    def origins(self) -> dict[str, blocks.Origin]:
        """By backbone, what a training has in the columns rows.ORIGIN."""
        return {name: origin(self.catalogue, name) for name in self.catalogue.experiment.backbones}


def import_everything() -> None:
    """Import what trainings and evaluations need, as their own processes would."""
    # SIGTERM is blocked where egpo.verl_plugin.plugin is imported in a training, and the plug-in looks at that.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    # Ray's library reads these for workers when it is imported (egpo.runtime.fork_server); a driver has its own job.
    ray = {"RAY_JOB_ID": NO_JOB, "RAY_RAYLET_PID": str(os.getpid())}
    os.environ.update(ray)
    forks.import_once((*MODULES, *FURTHER), hidden=ray)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def origin(catalogue: Catalogue, backbone: str) -> blocks.Origin:
    """Hashes of the weights and the rows that a training starts from, and of the code that trains and answers."""
    paths, platform = Paths(catalogue.experiment.experiment), catalogue.experiment.training.platform
    files = paths.backbone(backbone) / "model" / "model.safetensors", paths.output("data_pool", "train")
    code = f"{stage_code('train_model', platform=platform)}-{stage_code('roll_out')}"
    return *(sha256(file)[:16] for file in files), code


def commit_of() -> str:
    """The commit of the repository, with + where a file differs from it; empty without git."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "src", "config")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _train_and_measure(request: Request, training: Training, result: Path) -> NoReturn:
    """The body of a fork: write the row to `result`, and end. An interruption writes none."""
    prctl(SET_PDEATHSIG, signal.SIGTERM)  # not to go on beside the next run of the command
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        backbone, method, seed, attempt = training
        start = time.monotonic()
        name = f"{backbone} {method} seed {seed}"
        with job_context(name, request.folder / "logs" / f"{backbone}-{method}-{seed}-{attempt}.log") as report:
            try:
                from egpo.study import measure

                questions = measure.read_questions(request.questions)
                row, work = measure.measure(request.catalogue, backbone, method, seed, questions, report)
                spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
                row["cpu_seconds"] = sum(usage.ru_utime + usage.ru_stime for usage in spent)
                row["seconds"] = time.monotonic() - start
                write_json(result, {"status": "ok"} | row)
                report(f"greedy {row['greedy']:.3f}, sampled {row['sampled']:.3f}, {duration(row['seconds'])}")
                if work is not None:
                    shutil.rmtree(work, ignore_errors=True)
            except Exception as error:
                write_json(result, {"status": "failed", "reason": f"{type(error).__name__}: {error}"[:300]})
                raise
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 143
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Trainings:
    """The forks that are under way."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._running: dict[int, Training] = {}
        self._commit = commit_of()

    def start(self, training: Training) -> None:
        result = self._result(training)
        result.unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            _train_and_measure(self._request, training, result)
        self._running[pid] = training

    def __len__(self) -> int:
        return len(self._running)

    def end_one(self) -> bool:
        """Wait for one, and append its row; False if it was interrupted."""
        pid, status = os.waitpid(-1, 0)
        training, code = self._running.pop(pid), os.waitstatus_to_exitcode(status)
        result = self._result(training)
        if result.exists():
            row = read_json(result)
        elif code in INTERRUPTED:
            return False
        else:
            row = {"status": "failed", "reason": f"ended with code {code}"}
        named = dict(zip(("backbone", "method", "seed", "attempt"), training, strict=True))
        named |= zip(rows.ORIGIN, self._request.origins[training[0]], strict=True)
        made = {"commit": self._commit, "command": self._request.command, "date": date.today().isoformat()}
        rows.append(self._request.out, named | row | made)
        if self._request.commit:
            self._commit_row(training)
        return True

    def end_all(self) -> None:
        """Ask all to save and end; their rows come with the next run."""
        for pid in self._running:
            os.kill(pid, signal.SIGTERM)
        while self._running:
            pid, _ = os.waitpid(-1, 0)
            self._running.pop(pid)

    def _result(self, training: Training) -> Path:
        return self._request.folder / "rows" / f"{'-'.join(map(str, training))}.json"

    def _commit_row(self, training: Training) -> None:
        backbone, method, seed, _ = training
        for command in (["add"], ["commit", "--quiet", "-m", f"Study: {method}, seed {seed}, on {backbone}"]):
            subprocess.run(["git", *command, "--", str(self._request.out)], cwd=ROOT, check=True)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def main(file: Path) -> int:
    """Train until every training has its row; returns the exit code, 1 where one has failed twice."""
    request = Request.read(file)
    print(f"{len(request.left())} trainings are left", flush=True)
    if not request.left():
        return 0
    import_everything()
    signal.signal(signal.SIGTERM, _stop)
    trainings = Trainings(request)
    waiting: list[Training] = []
    started: set[Training] = set()
    try:
        while True:
            # Anew each time: a failure leaves its second attempt.
            waiting = [training for training in request.left() if training not in started]
            while waiting and len(trainings) < request.at_once:
                started.add(waiting[0])
                trainings.start(waiting.pop(0))
            if not len(trainings):
                break
            if not trainings.end_one():
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        trainings.end_all()
        print("interrupted; run the same command again to go on", flush=True)
        return 130
    status = rows.read(request.out)["status"]
    print(f"{request.out}: {len(status)} rows, of which {(status == 'failed').sum()} failed", flush=True)
    return 0


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # without Python's clean-up, at which libraries that are imported for the forks complain
