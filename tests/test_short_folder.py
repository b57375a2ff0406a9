"""The folder of the sockets: TMPDIR, where its path is short enough."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from egpo.runtime.short_folder import BELOW, LONGEST

CODE = "from egpo.runtime.short_folder import short_folder; print(short_folder(), end='')"


def found(temporary: Path) -> str:
    environment = {**os.environ, "TMPDIR": str(temporary)}
    return subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True).stdout


def test_a_short_path_is_taken_and_a_long_one_is_not(tmp_path):
    short = Path("/dev/shm/egpo")
    short.mkdir(exist_ok=True)
    try:
        assert len(str(short)) <= LONGEST - BELOW
        assert found(short) == str(short)
    finally:
        short.rmdir()
    long = tmp_path / ("a" * (LONGEST - BELOW))
    long.mkdir()
    assert found(long) == "/tmp"


def test_rays_sockets_have_room():
    """By the names that Ray gives: ray._private.node.Node makes the session's, plasma_store is the longest socket."""
    session = "session_2026-11-28_15-22-00_123456_4194304"
    assert len(f"/egpo-abcdefgh/{session}/sockets/plasma_store") <= BELOW
