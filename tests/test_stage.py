"""What a script's frame prints and logs; files that appear whole; hashes of code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from egpo.common import provenance
from egpo.common.files import atomic_path, write_json
from egpo.common.hashing import stable_hash
from egpo.common.paths import ROOT
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


def test_a_user_error_shows_its_message_and_no_traceback(tmp_path):
    done = run("raise UserError('config/x.yaml: key: wrong')", tmp_path / "log")
    assert done.returncode == 1
    assert "some stage: error: config/x.yaml: key: wrong" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_defect_leaves_its_traceback_in_the_log(tmp_path):
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
    """The driver here is a program of that name, killed with SIGKILL; the job must notice by itself."""
    log, driver = tmp_path / "log", tmp_path / "snakemake"
    script = SCRIPT.format(ending="import time; print('ready', flush=True); time.sleep(60)")
    driver.write_text(DRIVER.format(python=sys.executable, script=script, log=str(log)))
    driver.chmod(0o755)
    process = subprocess.Popen([driver])
    try:
        wait_until(lambda: log.exists() and "ready" in log.read_text())
        (job,) = psutil.Process(process.pid).children()
        process.kill()
        process.wait()
        wait_until(lambda: not job.is_running())
    finally:
        process.kill()


def wait_until(condition, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder" / "file.json"
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []
    write_json(path, {"a": 1})
    assert [file.name for file in path.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize("removed", [True, False])  # Snakemake removes a log before a job
def test_the_log_of_an_attempt_that_failed_stays(tmp_path, removed):
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
            (tmp_path / f"{name}.py").write_text(source)
        provenance._read.cache_clear()
        return provenance.code_version.__wrapped__("first.py")

    return version


def test_code_version_changes_with_what_the_code_does_alone(version_of):
    before = version_of(first='def f(x):\n    """Say."""\n    return x + 1\n')
    cosmetic = version_of(first="# why\ndef f(x):\n    return (x + 1)\n")
    changed = version_of(first="def f(x):\n    return x + 2\n")
    assert before == cosmetic != changed


@pytest.mark.parametrize("how", ["from egpo.second import f", "import egpo.second", "from egpo import second"])
@pytest.mark.parametrize("where", ["{}\n", "def g():\n    {}\n"])
def test_code_version_counts_what_is_imported(version_of, how, where):
    code = {"second": "from egpo.third import f\n", "errors": "ERROR = 1\n"}
    before = version_of(first=where.format(how) + "import egpo.common.errors\n", third="f = 1\n", **code)
    assert version_of(third="f = 2\n") != before
    assert version_of(third="f = 1\n", errors="ERROR = 2\n") == before, "plumbing"


def test_each_rule_names_the_code_that_its_script_calls():
    rule = re.compile(r'code=code_version\(([^)]*)\),\s*script:\s*"\.\./(workflow/scripts/\w+\.py)"')
    found = [match for file in ROOT.glob("rules/*.smk") for match in rule.findall(file.read_text())]
    assert len(found) > 15
    for code, script in found:
        counted = provenance.modules(*re.findall(r'"(.+?)"', code))
        called = provenance.modules(os.path.relpath(ROOT / script, provenance.PACKAGE))
        missing = {name for name in called if not name.startswith(("..", "operations/"))} - counted.keys()
        assert not missing, f"{script}: {missing}"


def test_a_training_counts_what_the_plug_in_loads_by_name():
    """Imports are followed, but the plug-in's modules are loaded late, by their names."""
    plug_in = (ROOT / "src" / "egpo" / "training" / "plugin.py").read_text()
    named = re.findall(r'import_module\("egpo\.training\.(\w+)"\)', plug_in)
    rule = (ROOT / "rules/train.smk").read_text()
    counted = rule[rule.index("TRAINING_CODE") : rule.index("def training_of")]
    assert len(named) >= 4
    assert [name for name in named if f'"{name.removeprefix("cpu_")}"' not in counted] == []


def test_settings_hash_ignores_the_order_of_keys():
    assert stable_hash({"a": 1, "b": 2}) == stable_hash({"b": 2, "a": 1})
    assert stable_hash({"a": 1}) != stable_hash({"a": 2})
