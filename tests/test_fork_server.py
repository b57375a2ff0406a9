"""Workers that are forked instead of started: the fork server and its client, with a script of ours in Ray's place."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from egpo.runtime import fork_client, fork_server
from egpo.study.run import FURTHER
from egpo.training.names import RUN_FOLDER
from egpo.verl_plugin.cpu.modules import MODULES

WORKER = """
import json, os, signal, sys
assert "decimal" in sys.modules, "the server's imports are there"
print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "A": os.environ["A"], "B": os.environ.get("B"),
                  "name": __name__, "sigchld": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL}))
print("to stderr", file=sys.stderr)
"""


@pytest.fixture
def run_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="egpo-", dir="/tmp") as folder:  # sockets need short paths
        monkeypatch.setenv(RUN_FOLDER, folder)
        yield Path(folder)


@contextmanager
def serving(modules: Iterable[str]) -> Iterator[int]:
    pid = fork_server.start(modules)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.fixture
def server(run_folder: Path) -> Iterator[int]:
    with serving(["decimal", "numpy"]) as pid:
        yield pid


def ask(arguments: list[str], **environment: str) -> tuple[str, str]:
    """Output and errors of a worker: both end when it ends."""
    done = subprocess.run(
        [sys.executable, fork_client.__file__, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout, done.stderr


def test_a_worker_gets_arguments_environment_folder_and_streams(
    server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    monkeypatch.chdir(tmp_path)
    context = json.dumps({"env_vars": {"B": "2"}, "command_prefix": []})
    output, errors = ask([str(script), "--x=1", "--language=PYTHON", fork_client.CONTEXT + context], A="1")
    assert json.loads(output) == {
        "argv": ["--x=1"],
        "cwd": str(tmp_path),
        "A": "1",
        "B": "2",
        "name": "__main__",
        "sigchld": True,
    }
    assert errors == "to stderr\n"


def test_a_worker_that_fails_shows_its_error_and_the_server_goes_on(server: int, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.py", tmp_path / "good.py"
    bad.write_text("raise RuntimeError('broken worker')")
    good.write_text("print('fine')")
    assert "RuntimeError: broken worker" in ask([str(bad)])[1]
    assert ask([str(good)])[0] == "fine\n"


def test_workers_do_not_share_random_numbers(server: int, tmp_path: Path) -> None:
    script = tmp_path / "random.py"
    script.write_text("import random, numpy\nprint(random.random(), numpy.random.random())")
    first, second = (ask([str(script)])[0].split() for _ in range(2))
    assert first[0] != second[0] and first[1] != second[1]


IDS = "from ray import ObjectID\nprint(ObjectID.from_random().hex())"


@pytest.mark.parametrize(
    "modules",
    [
        ("egpo.verl_plugin.cpu.ray_ids", "actor_of_a_test"),
        pytest.param((*MODULES, *FURTHER), marks=pytest.mark.slow, id="all"),
    ],
)
def test_workers_draw_their_own_ids_of_ray(
    modules: tuple[str, ...], run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With the same ids, two workers that start at the same moment collide, and the training hangs.
    (run_folder / "actor_of_a_test.py").write_text("import ray\n@ray.remote\nclass Actor: pass\n")
    (run_folder / "worker.py").write_text(IDS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(run_folder), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("VERL_PLATFORM", "cpu")
    with serving(modules):
        assert len({ask([str(run_folder / "worker.py")])[0] for _ in range(3)}) == 3


def test_the_server_ends_with_the_process_that_started_it(run_folder: Path) -> None:
    starts = "import sys, egpo.runtime.fork_server as f; print(f.start([]), flush=True); input()"
    parent = subprocess.Popen([sys.executable, "-c", starts], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    (run_folder / "script.py").write_text("print('it serves')")
    assert ask([str(run_folder / "script.py")])[0] == "it serves\n"
    watch = os.pidfd_open(pid)
    parent.kill()
    parent.wait()
    assert select.select([watch], [], [], 120)[0], "the server is still there"


def test_a_process_ends_when_its_server_does(run_folder: Path) -> None:
    code = "import egpo.runtime.fork_server as f; f.watch(f.start(['no_such_module']))"
    code += "; import threading; threading.Event().wait()"
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert "No module named 'no_such_module'" in done.stderr and "has ended" in done.stderr
