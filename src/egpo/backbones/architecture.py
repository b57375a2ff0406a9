"""Sizes of a backbone, from its files or from the catalogue."""

from __future__ import annotations

from pathlib import Path

from egpo.common.errors import UserError
from egpo.common.files import read_json
from egpo.common.paths import ROOT
from egpo.config.backbones import Architecture, Backbone, HubModel, LocalModel

# Their names are those of config.json.
KEYS = tuple(Architecture.model_fields)


def of_folder(model: Path) -> Architecture:
    """From config.json of a model in Hugging Face format. Raises UserError if a size is missing."""
    values = {"tie_word_embeddings": False, **read_json(model / "config.json")}
    if missing := [key for key in KEYS if key not in values]:
        raise UserError(
            f"{model / 'config.json'}: has no {', '.join(missing)}: not a decoder of Qwen2's or Llama's kind."
        )
    return Architecture(**{key: values[key] for key in KEYS})


def as_config(size: Architecture) -> dict[str, int | bool]:
    """The sizes under their names in config.json."""
    return size.model_dump()


def check_attention(model: Path, attention: str) -> None:
    """Raise UserError for a model whose attention is not what `training.attention: packed` computes."""
    values = read_json(model / "config.json")
    windows = "sliding_attention" in (values.get("layer_types") or [])
    if values.get("sliding_window") and "layer_types" not in values:
        windows = values.get("use_sliding_window", True)
    found = {
        "sliding windows": windows,
        "soft-capped scores": values.get("attn_logit_softcapping"),
        "attention sinks": values.get("model_type") == "gpt_oss",
    }
    if attention == "packed" and any(found.values()):
        raise UserError(
            f"training.attention: packed computes plain causal attention, but {model / 'config.json'} asks for "
            f"{' and '.join(name for name, there in found.items() if there)}: set training.attention to another way "
            "(docs/paper-scale.md)."
        )


def of_backbone(backbone: Backbone) -> Architecture | None:
    """What is known before anything is fetched or made; None for a synthetic model, whose size does not matter."""
    source = backbone.source
    if isinstance(source, HubModel):
        return source.architecture
    return of_folder(ROOT / source.path) if isinstance(source, LocalModel) else None


def check_fetched(source: HubModel, model: Path) -> None:
    """Raise UserError if the model's sizes are not those of its entry in the catalogue."""
    if source.architecture is None:
        return
    found = of_folder(model)
    for key in KEYS:
        if getattr(found, key) != getattr(source.architecture, key):
            raise UserError(
                f"config/backbones.yaml: architecture.{key}: {getattr(source.architecture, key)} given, but "
                f"{source.repo} has {getattr(found, key)}: correct the entry."
            )
