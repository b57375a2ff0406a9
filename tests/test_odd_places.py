"""The small experiment where machines are unlike the one that it was written on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_experiment

from egpo.common.paths import ROOT, Paths

NAME = "test-odd-places"
ALONE = ["unshare", "--mount", "--map-root-user"]
# A home that cannot be written, a /tmp of 100 MB, files that nobody else may read.
PLACES = """
set -e
mount -t tmpfs -o ro tmpfs "$HOME"
mount -t tmpfs -o size=100m tmpfs /tmp
umask 077
exec "$@"
"""


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A clone with this environment, in a folder with a blank and a path of 200 characters, not below /tmp."""
    place = Path(tempfile.mkdtemp(prefix="egpo-odd-", dir="/var/tmp"))
    folder = place / "my work" / ("a" * (200 - len(str(place)) - len("/my work//egpo"))) / "egpo"
    folder.parent.mkdir(parents=True)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    (folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
    yield folder
    shutil.rmtree(place)


@pytest.mark.slow
def test_a_long_path_with_a_blank_a_small_tmp_and_a_home_that_cannot_be_written(checkout, tmp_path_factory):
    if subprocess.run([*ALONE, "true"]).returncode:
        pytest.skip("this machine allows no namespace of mounts")
    if Path(sys.executable).is_relative_to("/tmp"):
        pytest.skip("the environment is below /tmp, which is hidden here")
    assert len(str(checkout)) == 200
    home = checkout.parent / "home"
    home.mkdir()
    small_experiment.write(NAME, checkout / "mine.yaml")
    temporary = Path("/dev/shm") / ("egpo-" + "t" * 90)  # another file system, and too long for sockets
    temporary.mkdir(exist_ok=True)
    environment = os.environ | {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONPATH": str(checkout / "src")}
    python = str(checkout / ".venv" / "bin" / "python")
    command = [python, "-m", "snakemake", "all", "--cores", "2", "--configfile", "mine.yaml"]
    try:
        run = subprocess.run(
            [*ALONE, "sh", "-c", PLACES, "sh", *command], cwd=checkout, env=environment, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stdout + run.stderr
        report = checkout / Paths(NAME).report
        assert report.exists() and report.stat().st_mode & 0o077 == 0
        assert list(temporary.iterdir()) == [], "nothing is left behind"
    finally:
        shutil.rmtree(temporary)
