"""Sizes of a backbone, from its files or from the catalogue."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from egpo.common.errors import UserError
from egpo.common.files import is_lfs_pointer, read_json
from egpo.common.paths import ROOT
from egpo.config.backbones import Architecture, Backbone, GgufModel, HubModel, LocalModel

GGUF_KEYS = {
    "num_hidden_layers": "{}.block_count",
    "hidden_size": "{}.embedding_length",
    "intermediate_size": "{}.feed_forward_length",
    "num_attention_heads": "{}.attention.head_count",
    "num_key_value_heads": "{}.attention.head_count_kv",
    "head_dim": "{}.attention.key_length",
}
# Their names are those of config.json.
SIZES = tuple(name for name, field in Architecture.model_fields.items() if field.is_required())


def _weights(model: Path) -> dict[str, int]:
    """Number of elements of each weight by its name, from the headers of the files; empty without any."""
    found = {}
    for file in sorted(model.glob("*.safetensors")):
        if is_lfs_pointer(file):  # egpo.cli.checks.backbones says so
            continue
        try:
            with safe_open(file, framework="np") as tensors:
                found.update({name: prod(tensors.get_slice(name).get_shape()) for name in tensors.keys()})  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file}: cannot be read ({error}): download or save the model again.") from None
    return found


def of_folder(model: Path) -> Architecture:
    """From config.json of a model in Hugging Face format, and its weights if they are there.

    Raises:
        UserError: a size is missing, or a file of weights cannot be read.
    """
    config = read_json(model / "config.json")
    config = config.get("text_config", config)  # of a model that reads images too
    values: dict[str, Any] = {"num_key_value_heads": config.get("num_attention_heads"), **config}
    weights = _weights(model)
    if weights:  # families differ in what a missing key means
        values["tie_word_embeddings"] = not any(name.endswith("lm_head.weight") for name in weights)
    values.setdefault("tie_word_embeddings", False)
    if missing := [key for key in SIZES if values.get(key) is None]:
        raise UserError(
            f"{model / 'config.json'}: has no {', '.join(missing)}: not a decoder of Qwen2's or Llama's kind."
        )
    sizes = Architecture(**{key: values[key] for key in SIZES})
    exact: dict[str, int] = {}
    if (width := values.get("head_dim")) not in (None, sizes.head_width):
        exact["head_dim"] = width
    if weights:
        exact |= {"num_parameters": sum(weights.values()), "largest_tensor": max(weights.values())}
    return sizes.model_copy(update=exact)


def of_gguf(file: Path) -> Architecture:
    """From the header of a GGUF file. Raises UserError if it cannot be read, or a size is missing."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
    except (ValueError, OSError, IndexError) as error:
        raise UserError(f"{file}: not a readable GGUF file ({error}): download it again.") from None

    def value(name: str) -> Any:
        field = reader.get_field(name.format(value("general.architecture") if "{}" in name else ""))
        return field.contents() if field else None

    weights = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors}
    found = {key: value(name) for key, name in GGUF_KEYS.items()}
    found["vocab_size"] = len(value("tokenizer.ggml.tokens") or ()) or None
    needed = {key: size for key, size in found.items() if key != "head_dim"}
    if missing := [GGUF_KEYS.get(key, key).removeprefix("{}.") for key, size in needed.items() if size is None]:
        raise UserError(f"{file}: has no {', '.join(missing)}: not a decoder of Qwen2's or Llama's kind.")
    return Architecture(
        **found,
        tie_word_embeddings="output.weight" not in weights,
        num_parameters=sum(weights.values()),
        largest_tensor=max(weights.values()),
    )


def as_config(size: Architecture) -> dict[str, int | bool]:
    """The sizes under their names in config.json."""
    return size.model_dump(include=set(SIZES) | ({"head_dim"} if size.head_dim else set()))


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
    if isinstance(source, GgufModel):
        return of_gguf(ROOT / source.path)
    return of_folder(ROOT / source.path) if isinstance(source, LocalModel) else None


def check_fetched(source: HubModel, model: Path) -> None:
    """Raise UserError if the model's sizes are not those of its entry in the catalogue."""
    if source.architecture is None:
        return
    found = of_folder(model)
    for key in (*SIZES, "head_dim"):
        if getattr(found, key) != getattr(source.architecture, key):
            raise UserError(
                f"config/backbones.yaml: architecture.{key}: {getattr(source.architecture, key)} given, but "
                f"{source.repo} has {getattr(found, key)}: correct the entry."
            )
