"""Git: which commit results say they are of, and commits of rows as they come."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from egpo.common.paths import ROOT


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    return done.stdout.strip()


def current() -> str:
    """The commit of the repository, with + where a file differs from it; empty without git."""
    try:
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "src", "config", "workflow")
        return _git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def commit(files: Sequence[Path], message: str) -> str | None:
    """Commit these files alone; returns why that failed, else None. The next commit has what this one lacks."""
    names = [str(file) for file in files]
    try:
        _git("add", "--", *names)
        _git("commit", "--quiet", "-m", message, "--", *names)
    except subprocess.CalledProcessError as error:
        return (error.stderr or error.stdout).strip() or f"git ended with code {error.returncode}"
    except OSError as error:
        return str(error)
    return None
