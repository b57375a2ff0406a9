"""Benchmarks from the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from egpo.common.files import write_json
from egpo.config.benchmarks import HubBenchmark
from egpo.runtime.hub import snapshot

# Code is never run, and datasets trips over the sizes in dataset_infos.json where a dataset was changed by hand.
LEFT_OUT = ["*.py", "dataset_infos.json", ".gitattributes"]


def fetch(source: HubBenchmark, folder: Path, manifest: Path, report: Callable[[str], None]) -> None:
    """Download a benchmark's dataset into `folder` and record the commit.

    Raises:
        UserError: if the Hub cannot be reached or does not have it.
    """
    where = "config/benchmarks.yaml: source.repo"
    commit = snapshot("dataset", source.repo, source.revision, folder, where, report, ignore_patterns=LEFT_OUT)
    write_json(manifest, {"repo": source.repo, "revision": source.revision, "commit": commit})
