"""Before a training: can its work be resumed, and from which step."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from egpo.common.files import read_json, sha256, write_json
from egpo.common.hashing import stable_hash
from egpo.training import checkpoints, export, responses, trackers
from egpo.training.names import SIZES
from egpo.training.progress import ERROR, FAILURE, HEARTBEAT, STOP, forget_after


def prepare(config: DictConfig, work: Path, report: Callable[[str], None]) -> int:
    """Make `work` ready for a training. What cannot be resumed is set aside as `<work>.old-<n>`.

    That is work of other settings, code or inputs, and work past a milestone whose model was not kept.

    Args:
        config: verl's settings of the training.
        work: folder of its checkpoints, metrics and heartbeat; created if missing.

    Returns:
        The step to resume after, 0 for a new start.
    """
    work.mkdir(parents=True, exist_ok=True)
    mark, identity = work / "identity.json", _identity(config)
    if mark.exists() and read_json(mark) != identity:
        _set_aside(work, "settings, code or inputs differ from those of the checkpoints", report)
    start = checkpoints.repair(config.trainer.default_local_dir, report)
    if lacking := export.lacking(config, start):
        steps = ", ".join(map(str, lacking))
        _set_aside(work, f"no model was kept after step {steps}, as training.milestones now asks for", report)
        start = 0
    write_json(mark, identity)
    trackers.name_run(work)
    export.forget_after(config, start)
    forget_after(Path(config.egpo_run.metrics), start if start else -1)
    responses.forget_after(work, start)
    for stale in (ERROR, FAILURE, HEARTBEAT, STOP):
        (work / stale).unlink(missing_ok=True)
    if start:
        report(f"resuming after step {start}")
    return start


def _identity(config: DictConfig) -> str:
    """Hash of what checkpoints depend on: settings, and the content of data and model."""
    model = Path(config.actor_rollout_ref.model.path)
    files = [Path(config.data.train_files), Path(config.data.val_files), *sorted(model.glob("*.safetensors"))]
    config = config.copy()
    with open_dict(config):
        config.egpo_run.pop("milestones", None)  # they are copies of checkpoints
        # These do not change results, or only by rounding: a training that ran out of memory resumes with less.
        for key in ("trainer.save_freq", "egpo_run.sample_groups", *trackers.KEYS, *SIZES):
            OmegaConf.update(config, key, None)
    settings: Any = OmegaConf.to_container(config, resolve=True)
    return stable_hash([settings, [sha256(file) for file in files]])


def _set_aside(work: Path, why: str, report: Callable[[str], None]) -> None:
    """Rename `work` to the first `<work>.old-<n>` that is free, and make an empty one."""
    names = (work.with_name(f"{work.name}.old-{number}") for number in itertools.count(1))
    old = work.rename(next(name for name in names if not name.exists()))
    report(f"{why}: starting anew. The old work is kept in {old}; once it is not needed: rm -r {old}")
    work.mkdir()
