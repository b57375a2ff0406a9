"""Entries of the configuration that the kit's steps use; imports no torch, as an evaluation must not."""

from __future__ import annotations

from egpo.common.paths import ROOT
from egpo.config.backbones import Backbone
from egpo.config.files import read_yaml
from egpo.config.methods import Method

TINY, LARGE = "tiny-math", "qwen2.5-math-1.5b"


def method(name: str) -> Method:
    """An entry of config/methods.yaml."""
    return Method.model_validate(read_yaml(ROOT / "config" / "methods.yaml")[name])


def tiny_backbone() -> Backbone:
    """The demo's tiny model with heads of width 64, which GPU kernels of attention support."""
    entry = read_yaml(ROOT / "config" / "backbones.yaml")[TINY]
    entry["source"] |= {"num_attention_heads": 2}
    return Backbone.model_validate(entry)


def large_backbone() -> Backbone:
    """The model whose shape and lengths the step `paper_size` uses on a GPU."""
    return Backbone.model_validate(read_yaml(ROOT / "config" / "backbones.yaml")[LARGE])
