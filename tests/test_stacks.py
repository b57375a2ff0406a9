"""Where processes stand: what one that hangs says of itself."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager

from egpo.runtime import stacks
from egpo.runtime.fork_client import RUN_FOLDER

HANGS = """
import sys, threading, time
from egpo.runtime import stacks
def a_thread_that_hangs():
    time.sleep(1000)
def main_that_hangs():
    threading.Thread(target=a_thread_that_hangs, daemon=True).start()
    print(flush=True)
    time.sleep(1000)
if sys.argv[1:] == ["registers"]:
    stacks.register()
main_that_hangs()
"""


@contextmanager
def hanging(folder, *arguments):
    """A process that hangs, once it does."""
    environment = {**os.environ, RUN_FOLDER: str(folder)}
    command = [sys.executable, "-c", HANGS, *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_each_thread_of_a_process_that_hangs_is_shown(tmp_path):
    with hanging(tmp_path, "registers") as first, hanging(tmp_path, "registers") as second:
        text = stacks.collect(os.getpid(), tmp_path)
        assert first.poll() is None and second.poll() is None
    before, *parts = text.split("--- process ")
    shown = {int(part.split(":")[0]): part for part in parts}
    for process in (first, second):
        assert "main_that_hangs" in shown[process.pid] and "a_thread_that_hangs" in shown[process.pid]
    assert not before.strip()


def test_a_process_that_does_not_know_the_signal_is_named_and_not_ended(tmp_path):
    with hanging(tmp_path) as process:
        text = stacks.collect(os.getpid(), tmp_path)
        assert process.poll() is None
    assert f"--- process {process.pid}: {sys.executable} -c" in text and "File " not in text


def test_a_process_that_has_ended_meanwhile_is_passed_over(tmp_path, monkeypatch):
    with hanging(tmp_path, "registers") as process:
        pass
    monkeypatch.setattr(stacks, "descendants", lambda root: [process.pid])
    assert stacks.collect(os.getpid(), tmp_path) == ""


def test_registering_outside_a_training_or_on_another_node_does_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv(RUN_FOLDER, raising=False)
    stacks.register()
    monkeypatch.setenv(RUN_FOLDER, str(tmp_path / "of another node"))
    stacks.register()
    assert not stacks._is_registered(os.getpid())
