"""The Hugging Face Hub. Only the rules that fetch may use it: compute nodes often have no network.

Every other job runs with the Hub's clients offline, so that one that asks for what was not fetched fails at once, by
its name, and not after minutes of attempts. `egpo fetch` runs the rules that fetch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from egpo.common.errors import UserError

OFFLINE = "HF_HUB_OFFLINE"  # of huggingface_hub, datasets and transformers
TRUE = {"1", "ON", "YES", "TRUE"}  # as huggingface_hub reads it
OF_THE_USER = "EGPO_HF_HUB_OFFLINE"  # the user's own value of it


def forbid() -> None:
    """Let this process and its children be offline. The user's own choice is kept for `allow`."""
    os.environ.setdefault(OF_THE_USER, os.environ.get(OFFLINE, ""))
    os.environ[OFFLINE] = "1"


def allow() -> None:
    """Undo `forbid` in a process that fetches; where the user has chosen to be offline, it stays so."""
    if OF_THE_USER not in os.environ:
        return
    os.environ[OFFLINE] = os.environ[OF_THE_USER]
    for module in ("huggingface_hub.constants", "datasets.config"):  # they read the variable once, at their import
        if module in sys.modules:
            setattr(sys.modules[module], OFFLINE, os.environ[OFFLINE].upper() in TRUE)


def reason(error: Exception) -> str:
    """The kind of an error and the first line of what it says: the Hub's have many lines, others have none."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"


def snapshot(
    kind: Literal["model", "dataset"],
    repo: str,
    revision: str,
    folder: Path,
    key: str,
    report: Callable[[str], None],
    allow_patterns: list[str] | None = None,
    ignore_patterns: list[str] | None = None,
) -> str:
    """Download a repository of the Hub; an interrupted download continues where it stopped.

    Args:
        key: of the configuration, for messages.

    Returns:
        The commit that `revision` resolves to.

    Raises:
        UserError: the Hub cannot be reached or does not have it.
    """
    allow()
    from huggingface_hub import HfApi, snapshot_download

    try:
        commit = HfApi().repo_info(repo, revision=revision, repo_type=kind).sha
        assert commit is not None
        report(f"fetching {repo} at {commit}")
        snapshot_download(
            repo,
            repo_type=kind,
            revision=commit,
            local_dir=folder,
            allow_patterns=allow_patterns,
            ignore_patterns=ignore_patterns,
        )
    except Exception as error:  # the Hub's errors and those of every network layer below it
        raise UserError(
            f"{key}: cannot fetch {repo} at {revision} from the Hugging Face Hub ({reason(error)}). "
            "Check the name; run `egpo fetch` where there is a network (what is fetched stays), or give a copy with "
            "{kind: local, path: ...}."
        ) from error
    return commit
