"""One training from its settings to an exported model: prepare, run, export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from egpo.common.errors import UserError
from egpo.common.files import write_text
from egpo.training import checkpoints, export, responses
from egpo.training.limits import Limits
from egpo.training.nodes import check_nodes
from egpo.training.prepare import prepare
from egpo.training.settings import as_text
from egpo.training.watch import watch


def train(config: DictConfig, out: Path, work: Path, limits: Limits, report: Callable[[str], None]) -> None:
    """Run verl until the last step, and export the model.

    Resumes from the latest complete checkpoint in `work` if settings, code and inputs are the same. Saves at the time
    limit and at SIGTERM, if there is time for that. No process is left running, however this one ends.

    Args:
        config: from egpo.training.settings.verl_config, for this `work`.
        out: gets verl.yaml at once, milestones/ on the way, and at the end model/ (both in Hugging Face format),
            metrics.jsonl, responses.parquet and samples.jsonl.
        work: folder of checkpoints, metrics and heartbeat.
        limits: when the training is stopped.
        report: called with each line of progress.

    Raises:
        UserError: a limit was reached, or verl refuses the settings.
        RuntimeError: the training failed; the cause is on this process's standard error.
    """
    check_nodes(config.trainer.nnodes)
    if Path(config.egpo_run.work) != work.absolute():
        raise ValueError(f"config was made for {config.egpo_run.work}, not for {work}")
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "verl.yaml", as_text(config))
    steps = total_steps(config)
    if (last := max(export.milestones(config), default=0)) >= steps:
        raise UserError(
            f"training.milestones: a model is to be kept after step {last}, but with this data a training has {steps} "
            "steps. Give fewer milestones, or total_training_steps."
        )
    start = prepare(config, work, report)
    with open_dict(config):
        config.trainer.val_before_train = start == 0
    if start < steps:
        OmegaConf.save(config, work / "verl.yaml", resolve=True)
        watch(config, work, start, steps, limits, report)
    export.export(config, steps, out / "model")
    write_text(out / "metrics.jsonl", Path(config.egpo_run.metrics).read_text())
    responses.join(Path(config.egpo_run.work), out)
    checkpoints.keep_last(config.trainer.default_local_dir, 1)
    report(f"{steps} steps done, the model is in {out / 'model'}")


def total_steps(config: DictConfig) -> int:
    """Optimiser steps of the whole training, as verl counts them."""
    if config.trainer.total_training_steps is not None:
        return config.trainer.total_training_steps
    from pyarrow.parquet import read_metadata

    rows = read_metadata(config.data.train_files).num_rows
    return rows // config.data.train_batch_size * config.trainer.total_epochs
