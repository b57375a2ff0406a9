"""A training from settings to manifest: what the rule `train_model` calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from egpo.backbones.architecture import check_attention, of_folder
from egpo.common.files import write_json
from egpo.common.provenance import origin
from egpo.config.backbones import Backbone
from egpo.config.methods import Method
from egpo.config.training import Training
from egpo.training.export import mark_milestones
from egpo.training.fit import fit
from egpo.training.limits import Limits
from egpo.training.shuffled import write_shuffled
from egpo.training.trackers import Tracked


def run(
    training: Training,
    method: Method,
    backbone: Backbone,
    model: Path,
    train_file: Path,
    validation_file: Path,
    seed: int,
    out: Path,
    code: str,
    limits: Limits,
    memory_gib: float,
    tracked: Tracked,
    report: Callable[[str], None],
    milestones: Sequence[int] = (),
) -> None:
    """Train, export, and write `out/manifest.json` last.

    Args:
        model: folder of the model to start from, in Hugging Face format.
        train_file, validation_file: parquet of egpo.data.verl_rows.
        seed: of the order of the data, vLLM's sampler and torch.
        out: gets model/, milestones/, metrics.jsonl, verl.yaml and manifest.json; work/ holds checkpoints.
        code: version of the code; checkpoints of another version are not resumed.
        limits: when the training is stopped.
        memory_gib: of this machine, for a training on a CPU.
        tracked: where the training is tracked, which changes nothing of it.
        report: called with each line of progress.
        milestones: the steps after which a model is kept.

    Raises:
        UserError: the model, the settings or a limit; see egpo.training.launch.train.
    """
    check_attention(model, training.attention)
    # These imports take seconds: check the settings first.
    from omegaconf import open_dict

    from egpo.training.launch import train
    from egpo.training.settings import verl_config

    work = out / "work"
    given = train_file
    if method.shuffled_answers:
        train_file = write_shuffled(train_file, out / "shuffled-answers.parquet", seed)
    sizes = fit(of_folder(model), backbone, training, memory_gib)
    config = verl_config(training, method, backbone, model, train_file, validation_file, seed, work, sizes)
    with open_dict(config):
        config.egpo_run.code = code  # a part of what checkpoints must agree with
        if milestones:
            config.egpo_run.milestones = list(milestones)
    tracked.add_to(config)
    for line in (sizes.line, *(f"warning: {warning}" for warning in sizes.warnings)):
        report(line)
    train(config, out, work, limits, report)
    mark_milestones(out, milestones)
    settings = {part.__class__.__name__.lower(): part.model_dump(mode="json") for part in (training, method, backbone)}
    files = [given, validation_file, *sorted(model.glob("*.safetensors"))]
    write_json(out / "manifest.json", origin({**settings, "seed": seed}, code, files))
