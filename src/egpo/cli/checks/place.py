"""Where an entry of a catalogue stands, for messages."""

from __future__ import annotations

from egpo.config.experiment import Catalogue


def place(catalogue: Catalogue, source: str, kind: str, name: str) -> str:
    """File and key of an entry of a catalogue: the experiment's own, or that of config/<kind>.yaml."""
    if name in catalogue.experiment.extra_models and kind == "backbones":
        return f"{source}: extra_models.{name}"
    own = name in getattr(catalogue.experiment.define, kind)
    return f"{source}: define.{kind}.{name}" if own else f"config/{kind}.yaml: {name}"
