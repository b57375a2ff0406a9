"""The installer of the environment: what it reads and what it notices."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from egpo.config import ROOT

spec = importlib.util.spec_from_file_location("install", ROOT / "envs" / "install.py")
install = importlib.util.module_from_spec(spec)
spec.loader.exec_module(install)


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_lists_are_fully_pinned_and_hold_what_was_asked_for(name):
    pins = install.read_pins(ROOT / "envs" / f"{name}.txt")
    for line in (ROOT / "envs" / f"{name}.in").read_text().splitlines():
        wanted = line.split("#")[0].split("==")[0].split("[")[0].strip()
        assert not wanted or install.normalise(wanted) in pins
    text = (ROOT / "envs" / f"{name}.txt").read_text()
    assert "://" not in text, "no download address belongs into a list"


def test_lists_hold_the_versions_that_the_project_builds_on():
    cpu, gpu = (install.read_pins(ROOT / "envs" / f"{name}.txt") for name in ("cpu", "gpu"))
    assert cpu["torch"] == "2.13.0"
    assert cpu["verl"] == gpu["verl"] == "0.9.1"
    assert (gpu["torch"], gpu["vllm"]) == ("2.11.0", "0.24.0")
    assert cpu["antlr4-python3-runtime"] == gpu["antlr4-python3-runtime"] == "4.9.3"
    assert not {"torchvision", "torchaudio", "torchcodec"} & set(cpu)


def test_an_unpinned_line_is_an_error(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("numpy==2.0\npandas>=2\n")
    with pytest.raises(SystemExit, match=r"list\.txt:2: expected name==version"):
        install.read_pins(file)


def test_differences_name_missing_changed_and_foreign_packages():
    pins = {"torch": "2.13.0", "verl": "0.9.1", "numpy": "2.3.5"}
    have = {"torch": "2.13.0+cpu", "numpy": "2.0.0", "black-box": "1.0", "egpo": "0.1.0"}
    assert install.differences(have, pins) == [
        "verl is missing",
        "numpy is 2.0.0, not 2.3.5",
        "black-box is not in the list",
    ]


def test_this_environment_is_noticed_as_whole():
    have = install.installed(Path(sys.executable))
    assert install.differences(have, install.read_pins(ROOT / "envs" / "cpu.txt")) == []


def test_an_environment_whose_python_does_not_run_is_noticed(tmp_path):
    assert install.installed(tmp_path / "bin" / "python") is None


def pip_report(requires: list[str]):
    """A stand-in for pip's answer (unit test of our reading of it)."""

    def run(command, **_):
        report = {"install": [{"metadata": {"requires_dist": requires}}]}
        return subprocess.CompletedProcess(command, 0, stdout=json.dumps(report), stderr="")

    return run


def test_a_cuda_torch_is_refused_with_the_variable_to_set(monkeypatch):
    monkeypatch.setattr(install.subprocess, "run", pip_report(["filelock", "nvidia-cudnn-cu13==9.1; platform"]))
    with pytest.raises(SystemExit, match=r"CUDA build of torch 2\.13\.0[\s\S]*PIP_EXTRA_INDEX_URL"):
        install.require_cpu_torch(Path(sys.executable), "2.13.0")
    monkeypatch.setattr(install.subprocess, "run", pip_report(["filelock", "sympy"]))
    install.require_cpu_torch(Path(sys.executable), "2.13.0")
