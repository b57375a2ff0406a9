"""The doctor on what an experiment reads: models, data, benchmarks, and the keys of judges."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from egpo.cli.doctor.finding import Finding, failed, ok, warning
from egpo.common.errors import UserError
from egpo.common.paths import ROOT, Paths
from egpo.config.backbones import Backbone, HubModel, LocalModel
from egpo.config.benchmarks import Benchmark
from egpo.config.data import Data, HubSource, LocalSource, ProblemsSource
from egpo.data.schema import open_shard, shards

SECONDS = 10  # for a hub to answer
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
LOOPBACK = ("localhost", "127.0.0.1", "::1")

# --- models ----------------------------------------------------------------------------------------


def model(name: str, backbone: Backbone, folder: Path, target: Path, command: str) -> Finding:
    """folder: where its weights are or will be. target: what says that they were fetched or made; command: makes it."""
    what, source = f"model {name}", backbone.source
    if isinstance(source, LocalModel):
        return judge_model(what, ROOT / folder, f"Correct the folder, or {name}.source.path")
    if target.exists():
        return judge_model(what, folder, f"Remove {target.parent}: it is made or fetched again")
    if not isinstance(source, HubModel):
        return ok(what, "will be made here")
    remedy = f"Run `{command}` where there is a network, or give a copy with source: {{kind: local, path: ...}}"
    return on_hub(what, "model", source.repo, source.revision, remedy)


def judge_model(what: str, folder: Path, remedy: str) -> Finding:
    wrong = shortcomings(folder)
    return failed(what, f"{folder}: {'; '.join(wrong)}", remedy) if wrong else ok(what, str(folder))


def shortcomings(folder: Path) -> list[str]:
    """What keeps a folder from being a model that this workflow can load safely; empty if nothing does."""
    from safetensors import SafetensorError, safe_open

    found = []
    config = _json(folder / "config.json", found)
    if "auto_map" in config:
        found.append("config.json wants code of the model's own to be run (auto_map), which is never done")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        found.append("no tokenizer")
    elif not _has_chat_template(folder, found):
        found.append("the tokenizer has no chat template")
    weights = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named = set(_json(index, found).get("weight_map", {}).values())
        found += [f"{name} is missing" for name in sorted(named - {file.name for file in weights})]
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
    names = [file.rfilename for file in found.siblings or ()]
    if kind == "model" and not any(name.endswith(".safetensors") for name in names):
        return failed(what, f"{repo} has no safetensors, and pickles are not read", "Choose a revision that has some")
    return ok(what, f"{repo} at {found.sha}, on the Hub")


# --- data ------------------------------------------------------------------------------------------


def data(section: Data, target: Path, command: str) -> Finding:
    """target: what says that it was prepared; command: prepares it."""
    source, what = section.source, "data"
    if isinstance(source, LocalSource):
        try:
            files = [file for part in shards(ROOT / source.path).values() for file in part]
            rows = sum(open_shard(file).metadata.num_rows for file in files)
        except UserError as error:
            return failed(what, str(error), "Or correct data.source.path")
        return ok(what, f"{rows} rows in {len(files)} shards, {source.path}")
    if isinstance(source, ProblemsSource):
        return ok(what, str(source.path))  # that it is there was checked before this began
    if target.exists():
        return ok(what, f"prepared in {target.parent}")
    if not isinstance(source, HubSource):
        return ok(what, "will be made here")
    remedy = f"Run `{command}` where there is a network, or give a copy with data.source: {{kind: local, ...}}"
    return on_hub(what, "dataset", source.repo, source.revision, remedy)


# --- benchmarks ------------------------------------------------------------------------------------


def benchmarks(chosen: dict[str, Benchmark], folders: dict[str, str | None], paths: Paths) -> list[Finding]:
    """folders: of the benchmarks that have one here."""
    findings, missing = [], []
    for name, benchmark in chosen.items():
        folder, kind = folders[name], benchmark.source.kind
        if kind == "local" and not any((ROOT / folder).iterdir()):
            remedy = f"Put the data in, as evalscope's {benchmark.adapter} reads it"
            findings.append(failed(f"benchmark {name}", f"{folder} is empty", remedy))
        elif kind == "hub" and not paths.questions(name).exists():
            missing.append(name)
    if missing:
        findings.append(_evalscopes_hub(missing))
    if not findings:
        findings.append(ok("benchmarks", f"{len(chosen)} here, or made here"))
    return findings


def _evalscopes_hub(names: list[str]) -> Finding:
    """A warning at most: evalscope may have them in its cache."""
    import requests
    from modelscope.hub.utils.utils import get_endpoint

    what, named = "benchmarks", ", ".join(names)
    try:
        requests.head(get_endpoint(), timeout=SECONDS)
    except requests.RequestException as error:
        remedy = "Without a network: source: {kind: local, path: ...} of each, or evalscope's own cache"
        return warning(what, f"ModelScope, for {named}, does not answer ({type(error).__name__})", remedy)
    return ok(what, f"ModelScope, for {named}, answers")


def judges(chosen: dict[str, Benchmark]) -> list[Finding]:
    """Of every judge its key's variable, never its value."""
    return [_judge(name, benchmark) for name, benchmark in chosen.items() if benchmark.judge is not None]


def _judge(name: str, benchmark: Benchmark) -> Finding:
    judge, what = benchmark.judge, f"judge of {name}"
    if not os.environ.get(judge.key_variable):
        remedy = f"export {judge.key_variable}=..., or {name}.judge.key_variable; take the judge out to do without"
        return failed(what, f"{judge.key_variable} is not set", remedy)
    address = urlsplit(judge.url)
    if address.scheme == "http" and address.hostname not in LOOPBACK:
        return warning(what, f"the key goes to {address.hostname} unencrypted", f"Use https in {name}.judge.url")
    return ok(what, f"{judge.key_variable} is set")
