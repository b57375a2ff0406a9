"""What job_context prints and logs; files that are written atomically; hashes of code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable

import psutil
import pytest
from waiting import LIMIT, until

from egpo.common import provenance
from egpo.common.files import atomic_path, write_json
from egpo.common.hashing import stable_hash
from egpo.common.paths import ROOT
from egpo.common.stages import STAGES
from egpo.runtime.job import duration

SCRIPT = """
import os, subprocess, sys
from egpo.common.errors import UserError
from egpo.runtime.job import job_context
with job_context("some stage", sys.argv[1]) as report:
    print("detail")
    subprocess.run(["echo", "from a child"])
    report("step 1 of 2")
    {ending}
"""


def run(ending: str, log) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", SCRIPT.format(ending=ending), str(log)]
    return subprocess.run(command, capture_output=True, text=True)


def test_progress_on_the_terminal_and_everything_in_the_log(tmp_path):
    log = tmp_path / "logs" / "some.log"
    done = run("pass", log)
    assert done.returncode == 0
    assert done.stdout == ""
    assert done.stderr.endswith("some stage: step 1 of 2\n")
    assert "detail" not in done.stderr
    for expected in ("detail", "from a child", "step 1 of 2"):
        assert expected in log.read_text()


def test_a_terminal_that_is_gone_fails_no_job(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", SCRIPT.format(ending="print('the end')"), str(tmp_path / "log")]
    done = subprocess.run(command, stderr=writing)
    os.close(writing)
    assert done.returncode == 0 and "step 1 of 2" in (tmp_path / "log").read_text()
    assert (tmp_path / "log").read_text().endswith("the end\n")


def test_a_user_error_shows_its_message_and_no_traceback(tmp_path):
    done = run("raise UserError('config/x.yaml: key: wrong')", tmp_path / "log")
    assert done.returncode == 1
    assert "some stage: error: config/x.yaml: key: wrong" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_error_leaves_its_traceback_in_the_log(tmp_path):
    log = tmp_path / "log"
    done = run("1 / 0", log)
    assert done.returncode == 1
    assert "failed: ZeroDivisionError: division by zero" in done.stderr
    assert str(log) in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in log.read_text()


DRIVER = """#!{python}
import subprocess, sys
subprocess.run([sys.executable, "-c", {script!r}, {log!r}])
"""


def test_a_job_ends_when_its_driver_is_killed(tmp_path):
    """A program of that name is killed with SIGKILL; the job must notice it."""
    log, driver = tmp_path / "log", tmp_path / "snakemake"
    script = SCRIPT.format(ending=f"import time; print('ready', flush=True); time.sleep({2 * LIMIT})")
    driver.write_text(DRIVER.format(python=sys.executable, script=script, log=str(log)))
    driver.chmod(0o755)
    process = subprocess.Popen([driver])
    try:
        until("the job's start", lambda: log.exists() and "ready" in log.read_text())
        (job,) = psutil.Process(process.pid).children()
        process.kill()
        process.wait()
        until("the job's end", lambda: not job.is_running())
    finally:
        process.kill()


def test_a_file_is_written_completely_or_not_at_all(tmp_path):
    path = tmp_path / "folder" / "file.json"
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []
    write_json(path, {"a": 1})
    assert [file.name for file in path.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize("removed", [True, False])  # Snakemake removes a log before a job
def test_the_log_of_a_failed_attempt_is_kept(tmp_path, removed):
    log = tmp_path / "stage.log"
    for word in ("first", "second", "third"):
        run(f'raise RuntimeError("the {word}")', log)
        if removed:
            log.unlink()
    run('report("the fourth")', log)
    assert "the third" not in log.read_text() and "the fourth" in log.read_text()
    assert "the third" in (tmp_path / "stage.log.previous").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stage.log", "stage.log.previous"]


@pytest.mark.parametrize(("seconds", "text"), [(4.6, "5 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.fixture
def version_of(tmp_path, monkeypatch) -> Callable[..., str]:
    """Version of the module `first` in a package of these sources."""
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)

    def version(**sources: str) -> str:
        for name, source in sources.items():
            file = tmp_path / f"{name.replace('__', '/')}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(source)
        provenance._read.cache_clear()
        return provenance.code_version.__wrapped__("first.py")

    return version


def test_code_version_ignores_comments_docstrings_and_layout(version_of):
    before = version_of(first='def f(x):\n    """Say."""\n    return x + 1\n')
    cosmetic = version_of(first="# why\ndef f(x):\n    return (x + 1)\n")
    changed = version_of(first="def f(x):\n    return x + 2\n")
    assert before == cosmetic != changed


@pytest.mark.parametrize("how", ["from egpo.second import f", "import egpo.second", "from egpo import second"])
@pytest.mark.parametrize("where", ["{}\n", "def g():\n    {}\n"])
def test_code_version_counts_what_is_imported(version_of, how, where):
    code = {"second": "from egpo.third import f\n", "common__errors": "ERROR = 1\n"}
    before = version_of(first=where.format(how) + "import egpo.common.errors\n", third="f = 1\n", **code)
    assert version_of(third="f = 2\n") != before
    assert version_of(third="f = 1\n", common__errors="ERROR = 2\n") == before, "plumbing"


RULE = re.compile(r'rule (\w+):\n(?:(?!\n *rule ).)*?script:\s*"\.\./(workflow/scripts/\w+\.py)"', re.DOTALL)
CODE = re.compile(r"code=(?:lambda w: )?(stage_code|code_version)\(((?:\"[^\"]+\"(?:, )?)+)")
# The modules that start and watch a training, which change no result.
LAUNCHERS = {"backbones/architecture.py"} | {
    f"training/{name}.py" for name in ("export", "launch", "limits", "nodes", "prepare", "process", "run", "watch")
}


def code_and_script() -> dict[str, tuple[set[str], str]]:
    """Modules that count for a rule, and its script; for each rule that names them."""
    found = {}
    for match in (match for file in ROOT.glob("rules/*.smk") for match in RULE.finditer(file.read_text())):
        if code := CODE.search(match[0]):
            names = re.findall(r'"(.+?)"', code[2])
            if code[1] == "stage_code":
                assert names == [match[1]]
                names = [*STAGES[match[1]].code, *STAGES[match[1]].cpu_code]
            found[match[1]] = (set(provenance.modules(*names)), match[2])
    return found


@pytest.mark.parametrize(("rule", "counted", "script"), [(rule, *both) for rule, both in code_and_script().items()])
def test_the_code_of_a_rule_covers_what_its_script_imports(rule, counted, script):
    called = provenance.modules(os.path.relpath(ROOT / script, provenance.PACKAGE))
    missing = {name for name in called if not name.startswith("..")} - counted
    if rule == "evaluate_model":  # its script also makes the shards of rollouts, whose code has a key of its own
        missing -= provenance.modules(*STAGES["roll_out"].code).keys()
    assert missing == (LAUNCHERS & called.keys() if rule == "train_model" else set())


def test_every_stage_with_code_has_a_rule_that_counts_it():
    assert {rule for rule, stage in STAGES.items() if stage.code} <= code_and_script().keys()


def test_a_training_counts_what_verl_and_the_plug_in_load_by_name():
    """Imports are followed; these modules are named in strings."""
    stage = STAGES["train_model"]
    files = [ROOT / "src/egpo/training" / name for name in ("settings.py", "cpu.py")]
    files += (ROOT / "src/egpo/verl_plugin").rglob("*.py")
    modules = re.compile(r'"(?:pkg://)?egpo\.(verl_plugin(?:\.[a-z_]+)+)')  # without a class at the end
    named = {f"{name.replace('.', '/')}.py" for file in files for name in modules.findall(file.read_text())}
    assert len(named) >= 8
    # They change garbage collection and Ray's ids, but no result.
    without_effect = {"verl_plugin/quick_start.py", "verl_plugin/cpu/ray_ids.py"}
    assert named - provenance.modules(*stage.code, *stage.cpu_code).keys() == without_effect


@pytest.fixture
def edited(tmp_path, monkeypatch) -> Callable[[str], dict[str, bool]]:
    """Whether an edit of a module changes the code of a training, by platform."""
    shutil.copytree(provenance.PACKAGE, tmp_path / "egpo", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "egpo")

    def codes() -> dict[str, str]:
        provenance._read.cache_clear()
        provenance.code_version.cache_clear()
        return {platform: provenance.stage_code("train_model", platform=platform) for platform in ("cpu", "cuda")}

    def edit(module: str) -> dict[str, bool]:
        before = codes()
        with (tmp_path / "egpo" / module).open("a") as file:
            file.write("\nNEW = 1\n")
        after = codes()
        return {platform: before[platform] != after[platform] for platform in before}

    yield edit
    provenance.code_version.cache_clear()


@pytest.mark.parametrize("module", [*STAGES["train_model"].cpu_code, "verl_plugin/cpu/socket.py"])
def test_code_of_the_cpu_counts_for_trainings_on_a_cpu_alone(edited, module):
    assert edited(module) == {"cpu": True, "cuda": False}


@pytest.mark.parametrize("module", ["training/settings.py", "verl_plugin/trainer.py", "methods/advantage.py"])
def test_code_of_both_platforms_counts_for_all_trainings(edited, module):
    assert edited(module) == {"cpu": True, "cuda": True}


def test_settings_hash_ignores_the_order_of_keys():
    assert stable_hash({"a": 1, "b": 2}) == stable_hash({"b": 2, "a": 1})
    assert stable_hash({"a": 1}) != stable_hash({"a": 2})
