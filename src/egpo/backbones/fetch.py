"""Backbones from the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from egpo.backbones.architecture import check_fetched
from egpo.common.errors import UserError
from egpo.common.files import write_json
from egpo.config.backbones import HubModel

# Weights in safetensors only: other formats can run code when they are read.
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "LICENSE*", "README.md"]


def fetch(source: HubModel, folder: Path, manifest: Path, report: Callable[[str], None]) -> None:
    """Download a model into `folder` and record the commit; an interrupted download continues where it stopped.

    Raises:
        UserError: if the Hub cannot be reached or does not have the model, or its sizes are not those of the catalogue.
    """
    try:
        commit = HfApi().model_info(source.repo, revision=source.revision).sha
        report(f"fetching {source.repo} at {commit}")
        snapshot_download(source.repo, revision=commit, local_dir=folder, allow_patterns=PATTERNS)
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise UserError(
            f"config/backbones.yaml: source.repo: {source.repo} at {source.revision} cannot be fetched: "
            f"{str(error).splitlines()[0]}. Check the name and the network, or download the model elsewhere and use "
            "source: {kind: local, path: ...}."
        ) from None
    check_fetched(source, folder)
    write_json(manifest, {"repo": source.repo, "revision": source.revision, "commit": commit})
