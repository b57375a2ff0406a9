"""Files of a synthetic backbone: its tokenizer, then its weights with a record of its pass rates."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from egpo.common.errors import UserError
from egpo.common.files import write_json
from egpo.common.provenance import origin, stage_code
from egpo.config.backbones import Backbone, SyntheticModel
from egpo.synthetic.warm_up import Teacher, estimate_shares, make_model, shortcomings

MORE_ROUNDS = 8  # of a sixth of the steps, at half of the learning rate


def synthetic(backbone: Backbone) -> SyntheticModel:
    assert isinstance(backbone.source, SyntheticModel), "the rules call this for synthetic backbones only"
    return backbone.source


def write_backbone(
    backbone: Backbone, tokenizer_folder: Path, model_folder: Path, manifest: Path, report: Callable[[str], None]
) -> None:
    """Train a synthetic backbone, check that reinforcement can start from it, and write model and manifest.

    Raises:
        UserError: if the pass rate or the mix of groups is not what `warm_up` asks for.
    """
    source = synthetic(backbone)
    tokenizer: Any = AutoTokenizer.from_pretrained(tokenizer_folder)
    model = make_model(source, tokenizer, backbone.max_model_len)
    teacher = Teacher(model, tokenizer, source, backbone.thinks, report)
    teacher.round(source.warm_up.steps)
    # Another processor can give another model after the same steps: one below the range is trained further.
    for left in range(MORE_ROUNDS, -1, -1):
        shares = estimate_shares(model, tokenizer, backbone)
        report(", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in shares.items()))
        found = shortcomings(shares, source.warm_up)
        if not found or not left or shares["pass_rate"] > sum(source.warm_up.pass_rate) / 2:
            break
        teacher.round(max(1, source.warm_up.steps // 6), share=0.5)
    if found:
        raise UserError(
            f"config/backbones.yaml: {backbone.label}: the warmed-up model is not a fair start for reinforcement: "
            + "; ".join(found)
            + ". Change source.warm_up.steps (more steps, higher pass rate) or source.hidden_size."
        )
    shutil.rmtree(model_folder, ignore_errors=True)
    model.save_pretrained(model_folder)
    tokenizer.save_pretrained(model_folder)
    files = sorted(path for path in model_folder.iterdir() if path.is_file())
    origins = origin(backbone.model_dump(mode="json"), stage_code("backbone_warm_up"), files)
    write_json(manifest, {"synthetic": True, "shares": shares, **origins})
