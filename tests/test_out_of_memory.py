"""A lack of memory is named as such, with the keys to change."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest
from omegaconf import OmegaConf
from small_runs import CATALOGUES, compose

from egpo.common.errors import UserError
from egpo.runtime import out_of_memory
from egpo.training.progress import ERROR, FAILURE
from egpo.training.watch import _failure

DEMO = CATALOGUES["demo"]
CPU = compose(DEMO.experiment.training, DEMO.methods["egpo"], DEMO.backbones["tiny-math"])
CUDA = OmegaConf.merge(CPU, {"trainer": {"device": "cuda"}})

# What torch, CUDA, Ray's monitor, Python, C++ and the C library say; the first and the last are made here for real.
SAID = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.90 GiB. GPU 0 has a total capacity of 79.11 GiB",
    "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
    "terminate called after throwing an instance of 'std::bad_alloc'",
    "OSError: [Errno 12] Cannot allocate memory",
)
OTHERWISE = ("ValueError: shapes do not match", "EngineDeadError: EngineCore encountered an issue", "")


def error_of(code: str) -> str:
    """Standard error of Python code in a process that may take 4 GiB."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))  # noqa: E731
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=limit, check=False)
    assert run.returncode
    return run.stderr


@pytest.mark.parametrize("code", ["import torch; torch.ones(1 << 32)", "bytearray(1 << 33)"])
def test_what_processes_say_when_memory_is_short(code):
    assert out_of_memory.says_so(error_of(code))


def test_words_of_others():
    assert all(map(out_of_memory.says_so, SAID))
    assert not any(map(out_of_memory.says_so, OTHERWISE))


def failure(config, work, error: str = "", kills: int = 0) -> Exception:
    if error:
        (work / ERROR).write_text(error)
    return _failure(config, work, 1, kills)


def test_the_message_of_a_training_names_the_keys(tmp_path):
    found = failure(CPU, tmp_path, "RayTaskError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 8")
    assert isinstance(found, UserError)
    assert "out of memory at 'start-up'. Micro batches of 16384 tokens" in str(found)
    assert "jobs.train.memory_gib" in str(found) and "Run again to resume" in str(found)


def test_on_gpus_it_is_the_gpus_memory_or_the_hosts(tmp_path):
    host = str(failure(CUDA, tmp_path, kills=1))
    assert "raise jobs.train.memory_gib" in host and "gpu_gib" not in host
    assert "training.gpu_memory_utilization" in str(failure(CUDA, tmp_path, SAID[0]))


def test_other_failures_are_not_taken_for_it(tmp_path):
    assert not isinstance(failure(CPU, tmp_path, OTHERWISE[1]), UserError)
    (tmp_path / FAILURE).write_text("a message for the user")
    assert str(failure(CPU, tmp_path, SAID[0])) == "a message for the user"


def test_the_kernel_counts_what_it_kills():
    assert out_of_memory.kills() >= 0
