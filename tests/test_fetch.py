"""`egpo fetch` from a stand-in of the Hub, and runs without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import small_experiment
import yaml
from hub_stand_in import COMMIT, hub_stand_in
from small_runs import CATALOGUES
from waiting import LIMIT

from egpo.backbones.architecture import as_config, of_folder
from egpo.common.files import read_json
from egpo.common.paths import ROOT, Paths
from egpo.config.benchmarks import Benchmark
from egpo.evaluation.harness import read_samples
from egpo.synthetic.benchmark import write_benchmark
from egpo.synthetic.tokenizer import make_tokenizer
from egpo.synthetic.warm_up import make_model

NAME = "test-fetch"
EGPO = Path(sys.executable).with_name("egpo")


@pytest.fixture(scope="module")
def repos(tmp_path_factory) -> dict[str, Path]:
    """A random model and two benchmarks, as they would be on the Hub."""
    folder = tmp_path_factory.mktemp("repos")
    backbone = CATALOGUES["demo"].backbones["tiny-math"]
    tokenizer = make_tokenizer(True, 1, backbone.max_model_len)
    make_model(backbone.source, tokenizer, backbone.max_model_len).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    found = {"someone/model": folder / "model"}
    for name, values in small_experiment.SMALL["define"]["benchmarks"].items():
        write_benchmark(Benchmark.model_validate(values), folder / name)
        (folder / name / "loader.py").write_text("raise SystemExit")
        found[f"someone/{name}"] = folder / name
    return found


@pytest.fixture
def configuration(repos, tmp_path) -> str:
    """The small experiment with its model and its benchmarks from the Hub."""
    file = Path(small_experiment.write(NAME, tmp_path / "mine.yaml"))
    values: dict[str, Any] = yaml.safe_load(file.read_text())
    sizes = as_config(of_folder(repos["someone/model"]))
    values["define"]["backbones"]["minute"]["source"] = {"kind": "hub", "repo": "someone/model", "architecture": sizes}
    for name, benchmark in values["define"]["benchmarks"].items():
        benchmark["source"] = {"kind": "hub", "repo": f"someone/{name}"}
    file.write_text(yaml.safe_dump(values))
    shutil.rmtree(ROOT / Paths(NAME).root, ignore_errors=True)
    return str(file)


def egpo(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [EGPO, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, env={**os.environ, **environment}
    )


def test_fetch_brings_models_and_benchmarks_into_the_results(configuration, repos):
    paths = Paths(NAME)
    with hub_stand_in(repos) as environment:
        done = egpo("fetch", configuration, **environment)
    assert done.returncode == 0, done.stderr
    assert read_json(ROOT / paths.backbone("minute") / "manifest.json")["commit"] == COMMIT
    for name in ("few-sums", "few-stories"):
        folder = ROOT / paths.benchmark(name)
        assert read_json(ROOT / paths.output("benchmark_fetch", benchmark=name))["commit"] == COMMIT
        assert not (folder / "loader.py").exists(), "code from a dataset is not even fetched"
        benchmark = Benchmark.model_validate(small_experiment.SMALL["define"]["benchmarks"][name])
        assert sum(map(len, read_samples(name, benchmark, folder).values())) == benchmark.num_questions
    # The stand-in is gone: what is here is not asked for again.
    again = egpo("fetch", configuration, **environment)
    assert again.returncode == 0 and "Nothing to be done" in again.stderr + again.stdout


@pytest.mark.parametrize("offline", [True, False])
def test_what_cannot_be_fetched_is_named_with_the_way_out(configuration, repos, offline):
    some = {name: folder for name, folder in repos.items() if name != "someone/few-sums"}
    with hub_stand_in(some) as environment:
        done = egpo("fetch", configuration, **environment, **({"HF_HUB_OFFLINE": "1"} if offline else {}))
    text = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in text
    assert "cannot fetch someone/" in text and "`egpo fetch` where there is a network" in text
    assert ("OfflineModeIsEnabled" if offline else "few-sums at main") in text, text


@pytest.mark.slow
def test_after_fetch_the_whole_experiment_runs_without_a_network(configuration, repos):
    if subprocess.run(["unshare", "--net", "--map-root-user", "true"]).returncode:
        pytest.skip("this machine allows no namespace without a network")
    with hub_stand_in(repos) as environment:
        assert egpo("fetch", configuration, **environment).returncode == 0
    alone = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    command = [*alone, small_experiment.SNAKEMAKE, "all", "--cores", "2", "--configfile", configuration]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert (ROOT / Paths(NAME).report).exists()
