"""Faults in a real training: the message, the steps that are lost, and that the outcome is the same.

Each run has 12 steps and saves every second one. After a fault the same command is run again; then model and rewards
must equal those of an undisturbed run, bit for bit.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
from omegaconf import DictConfig, open_dict
from safetensors.torch import load_file
from small_runs import LIMITS, nothing_left_behind, small, start
from waiting import LIMIT, until

from egpo.common.errors import UserError
from egpo.runtime.guard import descendants
from egpo.training import checkpoints
from egpo.training.launch import train
from egpo.training.progress import REWARD, read_lines
from egpo.training.responses import RESPONSES

pytestmark = pytest.mark.slow
STEPS, SAVE_EVERY, FAULT_AFTER = 12, 2, 5


@dataclass
class Run:
    """A training of the method EGPO, which can be started several times."""

    config: DictConfig
    out: Path
    process: subprocess.Popen | None = None

    def start(self, last_step: int | None = None, **environment: str) -> None:
        self.process = start(self.config, self.out, last_step=last_step, **environment)

    @property
    def checkpoints(self) -> Path:
        return Path(self.config.trainer.default_local_dir)

    @property
    def log(self) -> str:
        return (self.out / "log").read_text()

    def steps(self) -> list[int]:
        """Training steps that are done."""
        return [line["step"] for line in read_lines(self.out / "work" / "metrics.jsonl") if line["step"] > 0]

    def wait_for(self, step: int) -> None:
        until(f"step {step}", lambda: step in self.steps() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log[-3000:]

    def outcome(self) -> tuple[dict[int, float], dict[str, torch.Tensor], bytes]:
        """Rewards, model, and the record of all responses."""
        lines = [json.loads(line) for line in (self.out / "metrics.jsonl").read_text().splitlines()]
        rewards = {line["step"]: line[REWARD] for line in lines if line["step"] > 0}
        model = load_file(self.out / "model" / "model.safetensors")
        return rewards, model, (self.out / RESPONSES).read_bytes()

    def below(self, words: str) -> psutil.Process:
        """The deepest process of this training whose command contains `words`."""
        tree = psutil.Process(self.process.pid).children(recursive=True)
        return [process for process in tree if words in " ".join(process.cmdline())][-1]


def new_run(inputs: Path, out: Path) -> Run:
    out.mkdir(exist_ok=True)
    return Run(small(inputs, out, "egpo", total_training_steps=STEPS, save_freq=SAVE_EVERY), out)


@dataclass(frozen=True)
class Undisturbed:
    """size: of one checkpoint in bytes."""

    rewards: dict[int, float]
    model: dict[str, torch.Tensor]
    record: bytes
    size: int


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory) -> Undisturbed:
    run = new_run(inputs, tmp_path_factory.mktemp("undisturbed"))
    run.start()
    assert run.process.wait(LIMIT) == 0, run.log[-3000:]
    rewards, model, record = run.outcome()
    before = load_file(inputs / "model" / "model.safetensors")
    # EGPO also learns from wrong answers (NSR). If the model did not change, the comparison would show nothing.
    assert not all(torch.equal(model[key], before[key]) for key in model)
    return Undisturbed(rewards, model, record, checkpoints.largest(run.checkpoints))


# --- faults ------------------------------------------------------------------------------------------


def kill_the_trainer(run: Run) -> None:
    run.below("-m egpo.verl_plugin.driver").kill()


def kill_the_command(run: Run) -> None:
    run.process.kill()


def kill_vllm(run: Run) -> None:
    """The engine, a child of the Ray actor."""
    run.below("CpuServer").kill()


def send_sigterm(run: Run) -> None:
    """To every process, as Slurm does."""
    for pid in [*descendants(run.process.pid), run.process.pid]:
        os.kill(pid, signal.SIGTERM)


HELD: list[bytearray] = []


def take_the_memory(run: Run) -> None:
    """Until Ray, whose limit `short_of_memory` sets, kills a worker; the trainer is suspended meanwhile."""
    trainer = run.below("-m egpo.verl_plugin.driver")
    workers = set(trainer.children(recursive=True))
    trainer.suspend()

    def killed() -> bool:
        if len(HELD) < 12:
            HELD.append(bytearray(b"x") * (1 << 30))
        return not workers <= set(trainer.children(recursive=True))

    until("Ray kills a worker", killed, every=0.5)
    trainer.resume()


def truncate_the_last_checkpoint(run: Run) -> None:
    run.process.kill()
    run.process.wait()
    folder = checkpoints.folder_of(run.checkpoints, checkpoints.complete_steps(run.checkpoints)[-1])
    (file, *_) = sorted(folder.rglob("model_world_size_*.pt"))
    os.truncate(file, file.stat().st_size // 2)


def mount(run: Run, undisturbed: Undisturbed) -> None:
    """A file system with space for one checkpoint and a half."""
    (run.out / "work").mkdir()
    size = f"size={int(1.5 * undisturbed.size)}"
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(run.out / "work")]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")


def short_of_memory() -> dict[str, str]:
    memory = psutil.virtual_memory()
    threshold = (memory.total - memory.available + (9 << 30)) / memory.total
    return {"RAY_memory_usage_threshold": f"{threshold:.4f}", "RAY_memory_monitor_refresh_ms": "100"}


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        does: called after a step.
        says: a pattern in the log of the first run, or of the second if `later`.
        lost: the most steps that may be lost.
        short: what the first run lacks from the start.
    """

    does: Callable[[Run], None] | None
    says: str
    lost: int = SAVE_EVERY
    later: bool = False
    short: str = ""


FAULTS = {
    "trainer killed": Fault(kill_the_trainer, r"ended with code 137 at 'step \d+"),
    "command killed": Fault(kill_the_command, r""),
    "SIGTERM": Fault(send_sigterm, r"saved after step \d+", lost=0),
    "time limit": Fault(None, r"saved after step \d+(.|\n)*took longer than", lost=0, short="time"),
    "vLLM killed": Fault(kill_vllm, r"EngineDeadError(.|\n)*ended with code 1 at 'step"),
    "out of memory": Fault(take_the_memory, r"out of memory at 'step \d+: .*jobs.train.memory_gib", short="memory"),
    "disk full": Fault(None, r"no space left", short="disk"),
    "checkpoint truncated": Fault(
        truncate_the_last_checkpoint,
        r"warning: the checkpoint of step \d+ is damaged \(.*bytes\)",
        lost=2 * SAVE_EVERY,
        later=True,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_loses_few_steps_and_changes_no_result(inputs, tmp_path, undisturbed, name):
    fault, run = FAULTS[name], new_run(inputs, tmp_path / "out")
    if fault.short == "disk":
        mount(run, undisturbed)
    try:
        last_step = FAULT_AFTER if fault.short == "time" else None
        run.start(last_step, **(short_of_memory() if fault.short == "memory" else {}))
        with nothing_left_behind(run.process.pid):
            if fault.does:
                run.wait_for(FAULT_AFTER)
                fault.does(run)
            assert run.process.wait(LIMIT) != 0
        first, done = run.log, run.steps()[-1]
        HELD.clear()
        if fault.short == "disk":
            subprocess.run(["mount", "-o", "remount,size=1g", str(run.out / "work")], check=True)
        run.start()
        assert run.process.wait(LIMIT) == 0, run.log[-3000:]
        assert re.search(fault.says, run.log if fault.later else first), first[-3000:]
        (resumed,) = re.findall(r"resuming after step (\d+)", run.log)
        assert 0 <= done - int(resumed) <= fault.lost
        rewards, model, record = run.outcome()
        assert rewards == undisturbed.rewards
        assert record == undisturbed.record
        assert model.keys() == undisturbed.model.keys()
        assert all(torch.equal(model[key], undisturbed.model[key]) for key in model)
    finally:
        run.process.kill()
        if fault.short == "disk":
            subprocess.run(["umount", str(run.out / "work")], check=True)


def test_an_incomplete_checkpoint_is_removed_and_a_finished_training_only_exports(inputs, tmp_path, undisturbed):
    run = new_run(inputs, tmp_path / "out")
    half = checkpoints.folder_of(run.checkpoints, 99) / "actor"
    half.mkdir(parents=True)
    run.start()
    assert run.process.wait(LIMIT) == 0, run.log[-3000:]
    assert not half.exists()
    assert checkpoints.complete_steps(run.checkpoints) == [STEPS]
    run.start()
    assert run.process.wait(LIMIT) == 0 and f"{STEPS} steps done" in run.log
    assert run.outcome()[0] == undisturbed.rewards


def test_milestones_change_no_result_and_are_kept_over_a_fault(inputs, tmp_path, undisturbed):
    """Step 3 is not one at which the training saves anyway."""
    run = new_run(inputs, tmp_path / "out")
    with open_dict(run.config):
        run.config.egpo_run.milestones = [3, 8]
    run.start()
    run.wait_for(FAULT_AFTER)
    kill_the_command(run)
    run.process.wait()
    kept = run.out / "milestones" / "step-3" / "model.safetensors"
    first = kept.stat().st_mtime_ns, kept.read_bytes()
    run.start()
    assert run.process.wait(LIMIT) == 0, run.log[-3000:]
    assert re.search(r"resuming after step [345]", run.log)
    assert (kept.stat().st_mtime_ns, kept.read_bytes()) == first
    assert sorted(path.name for path in (run.out / "milestones").iterdir()) == ["step-3", "step-8"]
    rewards, model, record = run.outcome()
    assert (rewards, record) == (undisturbed.rewards, undisturbed.record)
    assert all(torch.equal(model[key], undisturbed.model[key]) for key in model)


def test_a_training_that_diverges_ends(inputs, tmp_path):
    config = small(inputs, tmp_path, "grpo", total_training_steps=8, save_freq=8, learning_rate=1e30)
    with pytest.raises(UserError, match=r"step \d: log-probabilities .* not finite.*training\.learning_rate"):
        train(config, tmp_path, tmp_path / "work", LIMITS, lambda _: None)
