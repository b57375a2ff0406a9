"""Entries of the configuration that the kit's steps use; without torch, which an evaluation must not import."""

from __future__ import annotations

from egpo.common.paths import ROOT
from egpo.config.backbones import Backbone
from egpo.config.files import read_yaml
from egpo.config.methods import Method

TINY, LARGE = "tiny-math", "qwen2.5-math-1.5b"


def method(name: str) -> Method:
    return Method.model_validate(read_yaml(ROOT / "config" / "methods.yaml")[name])


def tiny_backbone() -> Backbone:
    """The demo's tiny model, but with heads that are 64 wide, which GPU kernels of attention support."""
    entry = read_yaml(ROOT / "config" / "backbones.yaml")[TINY]
    entry["source"] |= {"num_attention_heads": 2}
    return Backbone.model_validate(entry)


def large_backbone() -> Backbone:
    """The model whose shape and lengths the step `paper_size` has on a GPU."""
    return Backbone.model_validate(read_yaml(ROOT / "config" / "backbones.yaml")[LARGE])
