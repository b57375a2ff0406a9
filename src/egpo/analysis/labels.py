"""Names of models and the experiment's note, as tables, figures and claims print them."""

from __future__ import annotations

from egpo.common.paths import BASE
from egpo.config.experiment import Catalogue


def label(catalogue: Catalogue, backbone: str, method: str) -> str:
    """'Qwen2.5-Math-7B (Base)' or '(warmed up)', 'Qwen2.5-Math-7B + EGPO', or the label of an extra model."""
    name = catalogue.backbones[backbone].label
    if backbone in catalogue.experiment.extra_models:
        return name
    if method == BASE:
        return f"{name} (Base)" if catalogue.backbones[backbone].warm_up is None else f"{name} (warmed up)"
    return f"{name} + {catalogue.methods[method].label}"


def note(catalogue: Catalogue) -> str:
    """The experiment's note on one line."""
    return " ".join(catalogue.experiment.note.split())
