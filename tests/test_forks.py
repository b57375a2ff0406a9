"""Processes that are forked from one that has imported their modules: as after a new start, but for the imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from waiting import until

from egpo.common.paths import ROOT
from egpo.runtime.fork_client import RUN_FOLDER

WORKER = """
import json, os, signal, sys
print(json.dumps({
    "decimal": "decimal" in sys.modules, "argv": sys.argv[1:], "name": __name__, "A": os.environ.get("A"),
    "B": os.environ.get("B"), "hidden": os.environ.get("HIDDEN"), "session": os.getsid(0) == os.getpid(),
    "sigterm": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "stdin": sys.stdin.read(),
    "files": sorted(map(int, os.listdir("/proc/self/fd")))}), flush=True)
sys.exit(int(sys.argv[1]))
"""
PARENT = """
import json, os, signal, subprocess, sys
from egpo.runtime import forks
if sys.argv[1] == "fork":
    forks.import_once(["decimal"], hidden=["HIDDEN"])
    assert forks.ready()
signal.signal(signal.SIGTERM, lambda *_: None)
null = os.open("/dev/null", os.O_RDONLY)
mine, given = os.dup2(null, 20), os.dup2(null, 21)
environment = {name: value for name, value in os.environ.items() if name != "B"} | {"A": "2"}
started = forks.popen([sys.executable, "-m", "worker_of_a_test", "3", "x"], stdin=subprocess.PIPE,
                      env=environment, pass_fds=[given], start_new_session=True)
started.stdin.write(b"hello")
started.stdin.close()
print(json.dumps({"code": started.wait(60), "poll": started.poll(), "mine": mine, "given": given}))
"""


def python(folder: Path, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script that can import the modules in `folder`."""
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": path, **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )


def run(folder: Path, how: str) -> tuple[dict, dict]:
    """What the worker and what its parent say."""
    (folder / "worker_of_a_test.py").write_text(WORKER)
    done = python(folder, PARENT, how, A="1", B="1", HIDDEN="1")
    done.check_returncode()
    worker, parent = done.stdout.splitlines()
    return json.loads(worker), json.loads(parent)


@pytest.mark.parametrize("how", ["fork", "new"])
def test_a_fork_starts_as_a_new_process_does(tmp_path, how):
    worker, parent = run(tmp_path, how)
    assert parent["code"] == parent["poll"] == 3
    assert worker["decimal"] == (how == "fork")
    assert worker["hidden"] == (None if how == "fork" else "1")
    expected = {"argv": ["3", "x"], "name": "__main__", "A": "2", "B": None, "session": True, "sigterm": True}
    assert {name: worker[name] for name in expected} == expected
    assert worker["stdin"] == "hello"
    assert parent["given"] in worker["files"] and parent["mine"] not in worker["files"]


def test_an_error_ends_the_fork_and_shows_itself(tmp_path):
    (tmp_path / "bad_worker_of_a_test.py").write_text("raise RuntimeError('broken worker')")
    script = (
        "import sys\nfrom egpo.runtime import forks\nforks.import_once([])\n"
        "print(forks.popen([sys.executable, '-m', 'bad_worker_of_a_test']).wait())"
    )
    done = python(tmp_path, script)
    assert done.stdout == "1\n" and "RuntimeError: broken worker" in done.stderr


def test_a_fork_that_does_not_end_can_be_killed(tmp_path):
    (tmp_path / "slow_worker_of_a_test.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(1000)")
    script = (
        "import subprocess, sys\nfrom egpo.runtime import forks\nforks.import_once([])\n"
        "one = forks.popen([sys.executable, '-m', 'slow_worker_of_a_test'])\n"
        "try:\n    one.wait(0.2)\nexcept subprocess.TimeoutExpired:\n    one.kill()\n    print(one.wait(60))"
    )
    done = python(tmp_path, script)
    assert done.stdout.splitlines()[-1] == "-9", done.stderr


def test_a_fork_server_ends_with_the_process_that_started_it_while_it_imports(tmp_path):
    """As when a training is killed in its first seconds: then nothing else is there to end it."""
    (tmp_path / "slow_module_of_a_test.py").write_text("print('imports', flush=True)\nimport time\ntime.sleep(1000)")
    script = (
        "import time\nfrom egpo.runtime import fork_server\n"
        "print(fork_server.start(['slow_module_of_a_test']), flush=True)\ntime.sleep(1000)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}", RUN_FOLDER: str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
    said = sorted(parent.stdout.readline() for _ in range(2))
    server = psutil.Process(int(said[0]))
    assert said[1] == "imports\n" and server.is_running()
    parent.kill()
    parent.wait()
    until("the end of the server", lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)
