"""Backbones from the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from egpo.backbones.architecture import check_fetched
from egpo.common.files import write_json
from egpo.config.backbones import HubModel
from egpo.runtime.hub import snapshot

# Weights in safetensors only: other formats can run code when they are read.
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "LICENSE*", "README.md"]


def fetch(source: HubModel, folder: Path, manifest: Path, report: Callable[[str], None]) -> None:
    """Download a model into `folder` and record the commit; an interrupted download continues where it stopped.

    Raises:
        UserError: if the Hub cannot be reached or does not have the model, or its sizes are not those of the catalogue.
    """
    commit = snapshot(
        "model", source.repo, source.revision, folder, "config/backbones.yaml: source.repo", report, PATTERNS
    )
    check_fetched(source, folder)
    write_json(manifest, {"repo": source.repo, "revision": source.revision, "commit": commit})
