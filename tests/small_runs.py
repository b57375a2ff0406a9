"""Shared by the tests of trainings: the catalogues, and runs of verl on a random tiny model."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from waiting import LIMIT, until

from egpo.common.paths import ROOT
from egpo.config.backbones import Backbone
from egpo.config.files import read_yaml
from egpo.config.loader import load
from egpo.config.methods import Method
from egpo.config.training import Training
from egpo.data.verl_rows import verl_row
from egpo.runtime.guard import descendants
from egpo.synthetic.problems import draw_problem
from egpo.training.limits import Limits
from egpo.training.settings import verl_config

CATALOGUES = {
    name: load(read_yaml(ROOT / "config" / f"{name}.yaml"), f"config/{name}.yaml") for name in ("demo", "paper")
}
METHODS = {name: Method.model_validate(entry) for name, entry in read_yaml(ROOT / "config" / "methods.yaml").items()}


def compose(
    training: Training,
    method: Method,
    backbone: Backbone,
    folder: Path = Path("/nowhere"),
    out: Path = Path("/nowhere/out"),
    seed: int = 1,
) -> DictConfig:
    files = folder / "train.parquet", folder / "validation.parquet"
    return verl_config(training, method, backbone, folder / "model", *files, seed, out / "work")


def make_inputs(folder: Path) -> None:
    """A random model and a few problems."""
    # Imported here: transformers takes seconds, and most test files do without it.
    from egpo.synthetic.tokenizer import make_tokenizer
    from egpo.synthetic.warm_up import make_model

    backbone = CATALOGUES["demo"].backbones["tiny-math"]
    tokenizer = make_tokenizer(False, 1, backbone.max_model_len)
    make_model(backbone.source, tokenizer, backbone.max_model_len).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rng = random.Random(1)
    for name, count, split in (("train", 16, "train"), ("validation", 2, "held-out")):
        problems = [draw_problem(rng, split, level=1) for _ in range(count)]
        rows = [verl_row(problem.text, problem.answer, index=i) for i, problem in enumerate(problems)]
        pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet")


def small(inputs: Path, out: Path, method: str | Method, **changes) -> DictConfig:
    demo = CATALOGUES["demo"]
    small_sizes = {
        "train_batch_size": 4,
        "rollouts_per_prompt": 4,
        "total_training_steps": 2,
        "save_freq": 1,
        "test_freq": 100,
    }
    assert changes.keys() <= type(demo.experiment.training).model_fields.keys(), "model_copy takes any name"
    training = demo.experiment.training.model_copy(update={**small_sizes, **changes})
    backbone = demo.backbones["tiny-math"].model_copy(update={"max_response_length": 12})
    chosen = METHODS[method] if isinstance(method, str) else method
    return compose(training, chosen, backbone, inputs, out)


LIMITS = Limits(LIMIT, LIMIT, LIMIT)  # no test's own limit: a training may take its time
TRAIN = """
import sys
from pathlib import Path
from omegaconf import OmegaConf
from egpo.training import watch
from egpo.training.launch import train
from egpo.training.limits import Limits
out = Path(sys.argv[1])
limits = Limits(*map(float, sys.argv[2:5]))
watch.TERM_SECONDS = limits.grace
class UntilStep:  # the time limit is reached with a step, however long the start-up takes
    grace, stall = limits.grace, limits.stall

    @property
    def time(self):
        metrics = out / "work" / "metrics.jsonl"
        return 0 if metrics.exists() and f'"step": {sys.argv[5]},' in metrics.read_text() else limits.time

chosen = UntilStep() if sys.argv[5:] else limits
train(OmegaConf.load(out / "config.yaml"), out, out / "work", chosen, lambda line: print(line, flush=True))
"""


def start(
    config: DictConfig, out: Path, limits: Limits = LIMITS, last_step: int | None = None, **environment: str
) -> subprocess.Popen:
    """Start a training in a new process and session, with its output in out/log.

    Args:
        last_step: the step at which the time limit is reached.
    """
    OmegaConf.save(config, out / "config.yaml")
    numbers = [str(value) for value in (limits.time, limits.grace, limits.stall, last_step) if value is not None]
    with (out / "log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-c", TRAIN, str(out), *numbers],
            start_new_session=True,
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
        )


def identity(pid: int) -> tuple[int, str] | None:
    """A process, told from a later one of that number by its start; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else (pid, fields[19])


@contextmanager
def nothing_left_behind(root: int, at_once: bool = False) -> Iterator[None]:
    """Every process that was seen below `root` during the block must end; with `at_once`, by the end of the block."""
    before, seen, over = set(descendants(os.getpid())), set(), threading.Event()

    def look() -> None:
        while not over.wait(0.3):
            seen.update(identity(pid) for pid in descendants(root) if pid not in before)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    seen.discard(None)
    assert len(seen) > 1

    def ended() -> bool:
        return all(identity(one[0]) != one for one in seen)

    if at_once:
        assert ended()
    until("the end of every process", ended)
