"""A training of a study and its evaluation, in forks: what comes out is what comes out after new starts, to the bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from small_runs import CATALOGUES, small

from egpo.training.cpu import cpu_environment
from egpo.training.process import DEFAULTS, OWN_RAY
from egpo.training.progress import read_lines
from egpo.training.responses import RESPONSES

pytestmark = pytest.mark.slow
SCRIPT = """
import os, sys
from pathlib import Path
from egpo.study import run
if sys.argv[2] == "fork":
    run.import_everything()
pid = os.fork() if sys.argv[2] == "fork" else 0
if pid:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
from omegaconf import OmegaConf
from egpo.config.backbones import Backbone
from egpo.config.evaluation import Evaluation
from egpo.study.measure import answers
from egpo.training.launch import train
from egpo.training.limits import Limits
out = Path(sys.argv[1])
train(OmegaConf.load(out / "config.yaml"), out, out / "work", Limits(7200, 60, 7200), print)
backbone = Backbone.model_validate_json((out / "backbone.json").read_text())
settings = Evaluation(seeds=(1, 2), platform="cpu", dtype="float32", kv_cache_gib=0.25)
questions = {"sums": [{"messages": [{"role": "user", "content": f"What is {n} + 4?"}], "target": str(n + 4)}
                      for n in range(4)]}
answers(out / "model", backbone, settings, questions).to_json(out / "answers.json")
os._exit(0)
"""


def made(inputs: Path, out: Path, how: str) -> Path:
    """The folder of a training and its answers, by forks or by new starts."""
    out.mkdir()
    OmegaConf.save(small(inputs, out, "egpo", test_freq=1), out / "config.yaml")
    (out / "backbone.json").write_text(CATALOGUES["demo"].backbones["tiny-math"].model_dump_json())
    environment = {**DEFAULTS, **os.environ, **OWN_RAY, **cpu_environment()}
    with (out / "log").open("w") as log:
        command = [sys.executable, "-c", SCRIPT, str(out), how]
        done = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False)
    assert done.returncode == 0, (out / "log").read_text()[-3000:]
    return out


# Which responses vLLM puts into one batch depends on the time, and so does the last bit of its log-probabilities. These
# metrics compare them with the actor's, and nothing else uses them.
OF_VLLM = ("rollout_corr/", "training/rollout_probs_diff_")


def metrics(out: Path) -> list[dict]:
    """What does not depend on the time and the machine."""
    free = ("timing", "perf/", "time", "actor/perf", *OF_VLLM)
    return [
        {name: value for name, value in line.items() if not name.startswith(free) and "/perf/" not in name}
        for line in read_lines(out / "metrics.jsonl")
    ]


def test_forks_change_no_result(inputs, tmp_path):
    forked, new = (made(inputs, tmp_path / how, how) for how in ("fork", "new"))
    assert len(metrics(new)) == 3 and metrics(forked) == metrics(new)
    for one, other in zip(*(read_lines(out / "metrics.jsonl") for out in (forked, new)), strict=True):
        of_vllm = {name: value for name, value in one.items() if name.startswith(OF_VLLM)}
        assert of_vllm == pytest.approx({name: other[name] for name in of_vllm}, abs=1e-6)
    weights = [load_file(out / "model" / "model.safetensors") for out in (forked, new)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
    assert (forked / RESPONSES).read_bytes() == (new / RESPONSES).read_bytes()
    assert json.loads((forked / "answers.json").read_text()) == json.loads((new / "answers.json").read_text())
