"""The doctor on models: in a folder, or on the Hugging Face Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from egpo.cli.checks.backbones import lost_weights
from egpo.cli.doctor.finding import Finding, failed, ok
from egpo.common.paths import ROOT
from egpo.config.backbones import Backbone, HubModel, LocalModel

SECONDS = 10  # for a hub to answer
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def model(name: str, backbone: Backbone, folder: Path, target: Path, command: str) -> Finding:
    """What there is of a backbone.

    Args:
        name: of the backbone.
        backbone: its entry.
        folder: where its weights are or will be.
        target: exists once they were fetched or made.
        command: fetches or makes them.
    """
    what, source = f"model {name}", backbone.source
    if isinstance(source, LocalModel):
        return assess_model(what, ROOT / folder, f"Correct the folder, or {name}.source.path")
    if target.exists():
        return assess_model(what, folder, f"Remove {target.parent}: it is made or fetched again")
    if not isinstance(source, HubModel):
        return ok(what, "will be made here")
    return on_hub(what, "model", source.repo, source.revision, fetch_or(command))


def fetch_or(command: str, copy: str = "source: {kind: local, path: ...}") -> str:
    """The remedy where the Hub does not answer. command: fetches; copy: the key of a copy."""
    return f"Run `{command}` where there is a network, or give a copy with {copy}"


def assess_model(what: str, folder: Path, remedy: str) -> Finding:
    wrong = shortcomings(folder)
    return failed(what, f"{folder}: {'; '.join(wrong)}", remedy) if wrong else ok(what, str(folder))


def shortcomings(folder: Path) -> list[str]:
    """Why this workflow cannot load the model in a folder safely; empty if it can."""
    from safetensors import SafetensorError, safe_open

    found: list[str] = []
    config = _json(folder / "config.json", found)
    if "auto_map" in config:
        found.append("config.json asks for code from the model's repository to be run (auto_map), which is never done")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        found.append("no tokenizer")
    elif not _has_chat_template(folder, found):
        found.append("the tokenizer has no chat template")
    weights = sorted(folder.glob("*.safetensors"))
    found += [f"{name} is missing" for name in lost_weights(folder)]
    for file in weights:
        try:
            safe_open(file, framework="numpy").__enter__()
        except (SafetensorError, OSError) as error:
            found.append(f"{file.name} is broken or cut off ({error})")
    if not weights:
        pickled = any(next(folder.glob(pattern), None) for pattern in PICKLES)
        found.append(
            "its weights are pickles, which can run code: convert them to safetensors" if pickled else "no weights"
        )
    return found


def _has_chat_template(folder: Path, found: list[str]) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    return "chat_template" in _json(folder / "tokenizer_config.json", found)


def _json(file: Path, found: list[str]) -> dict[str, Any]:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        found.append(f"{file.name}: {type(error).__name__}")
        return {}


def on_hub(what: str, kind: str, repo: str, revision: str, remedy: str) -> Finding:
    """Whether the Hugging Face Hub has it; HF_HUB_OFFLINE and HF_TOKEN count as they do for the download."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        found = HfApi().repo_info(repo, revision=revision, repo_type=kind, timeout=SECONDS)
    except GatedRepoError:
        return failed(what, f"{repo} is gated", "Accept its terms on the Hub, and set HF_TOKEN to a token of yours")
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        return failed(what, f"the Hub has no {repo} at {revision} ({type(error).__name__})", "Correct repo or revision")
    except Exception as error:  # of every layer of the network below
        return failed(what, f"the Hub does not answer for {repo} ({type(error).__name__}: {error})", remedy)
    names = [file.rfilename for file in getattr(found, "siblings", None) or ()]
    if kind == "model" and not any(name.endswith(".safetensors") for name in names):
        return failed(what, f"{repo} has no safetensors, and pickles are not read", "Choose a revision that has some")
    return ok(what, f"{repo} at {found.sha}, on the Hub")
