"""The models that a training leaves, in Hugging Face format: the final one, and those of its milestones.

A milestone's model is copied from the checkpoint of its step before that counts as complete. So a checkpoint that a
training resumes from has its milestone, and a milestone of a later step is one of steps that are repeated.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig

from egpo.common.files import read_json, write_json
from egpo.common.paths import milestone_folder
from egpo.training import checkpoints


def export(config: DictConfig, step: int, to: Path) -> None:
    """Copy the model of a checkpoint to a folder; one that is there is complete.

    Args:
        config: verl's settings of the training.
        step: of the checkpoint.

    Raises:
        RuntimeError: the checkpoint holds no model.
    """
    source = checkpoints.folder_of(config.trainer.default_local_dir, step) / "actor" / "huggingface"
    if not list(source.glob("*.safetensors")):
        raise RuntimeError(f"{source} holds no model: verl has not written the checkpoint as expected")
    parts = to.with_name(f".{to.name}.part")
    shutil.rmtree(parts, ignore_errors=True)
    shutil.copytree(source, parts)
    original = Path(config.actor_rollout_ref.model.path)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        if (original / name).exists():  # training does not change these: keep the original files
            shutil.copy2(original / name, parts / name)
    _forget_attention(parts / "config.json")
    shutil.rmtree(to, ignore_errors=True)
    parts.rename(to)


def _forget_attention(file: Path) -> None:
    """Take the training's kind of attention out of a model's config.json: transformers alone does not know it."""
    kept = {key: value for key, value in read_json(file).items() if key.lstrip("_") != "attn_implementation"}
    write_json(file, kept)


# --- milestones --------------------------------------------------------------------------------------


def milestones(config: DictConfig) -> tuple[int, ...]:
    """The steps after which the training keeps a model."""
    return tuple(config.egpo_run.get("milestones") or ())


def export_milestone(config: DictConfig, step: int) -> None:
    """Keep the model of a milestone's checkpoint."""
    export(config, step, milestone_folder(_out(config), step))


def lacking(config: DictConfig, start: int) -> list[int]:
    """The milestones up to the step `start` that were not kept: the training had none then, or at other steps."""
    return [step for step in milestones(config) if step <= start and not milestone_folder(_out(config), step).is_dir()]


def forget_after(config: DictConfig, start: int) -> None:
    """Remove milestones of steps after `start`, which a resumed training repeats, with their marks."""
    for folder in milestone_folder(_out(config), 0).parent.glob("step-*/"):
        if int(folder.name.removeprefix("step-")) > start:
            shutil.rmtree(folder)
            _mark(folder).unlink(missing_ok=True)


def mark_milestones(out: Path, steps: Iterable[int]) -> None:
    """Write <milestone>.json of each: the training is done, and has kept these models."""
    for step in steps:
        folder = milestone_folder(out, step)
        write_json(_mark(folder), {"step": step, "model": folder.name})


def _mark(folder: Path) -> Path:
    return folder.with_suffix(".json")


def _out(config: DictConfig) -> Path:
    return Path(config.egpo_run.work).parent
