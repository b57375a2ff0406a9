"""The code of an earlier commit, beside which a benchmark measures this one."""

from __future__ import annotations

import subprocess
from pathlib import Path

from egpo.common.paths import ROOT


def source_of(commit: str, folder: Path) -> Path:
    """Write the commit's src/ into a folder, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    files = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x"], input=files, cwd=folder, check=True)
    return folder
