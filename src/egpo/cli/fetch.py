"""`egpo fetch`: what an experiment reads from the Hugging Face Hub, into results/<experiment>/."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from egpo.common.paths import ROOT


def fetch(files: list[str], given: dict[str, Any]) -> int:
    """Run the workflow's target `fetch`; what was fetched before is not fetched again. Returns the exit code.

    Args:
        files: configuration files.
        given: keys laid over them, as with `--config`.
    """
    command = [sys.executable, "-m", "snakemake", "fetch", "--cores", "1", "--quiet", "rules", "host", "reason"]
    command += ["--configfile", *files]
    if given:
        command += ["--config", *(f"{key}={json.dumps(value)}" for key, value in given.items())]
    return subprocess.run(command, cwd=ROOT).returncode
