"""The doctor on what else an experiment reads: data, benchmarks, and the keys of judges."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from egpo.cli.doctor.finding import Finding, failed, ok, warning
from egpo.cli.doctor.models import fetch_or, on_hub
from egpo.common.errors import UserError
from egpo.common.paths import ROOT, Paths
from egpo.config.benchmarks import Benchmark, HubBenchmark, Judge, LocalBenchmark
from egpo.config.data import Data, HubSource, LocalSource, ProblemsSource
from egpo.data.schema import open_shard, shards

LOOPBACK = ("localhost", "127.0.0.1", "::1")

# --- data ------------------------------------------------------------------------------------------


def data(section: Data, target: Path, command: str) -> Finding:
    """target: exists once it was prepared; command: prepares it."""
    source, what = section.source, "data"
    if isinstance(source, LocalSource):
        try:
            files = [file for part in shards(ROOT / source.path).values() for file in part]
            rows = sum(open_shard(file).metadata.num_rows for file in files)
        except UserError as error:
            return failed(what, str(error), "Or correct data.source.path")
        return ok(what, f"{rows} rows in {len(files)} shards, {source.path}")
    if isinstance(source, ProblemsSource) and not any(part.on_hub for part in source.parts):
        places = ", ".join(str(part.path or part.repo) for part in source.parts)
        return ok(what, places)  # checked with the configuration
    if target.exists():
        return ok(what, f"prepared in {target.parent}")
    if isinstance(source, ProblemsSource):
        return _problems_on_hub(what, source, command)
    if not isinstance(source, HubSource):
        return ok(what, "will be made here")
    remedy = fetch_or(command, "data.source: {kind: local, ...}")
    return on_hub(what, "dataset", source.repo, source.revision, remedy)


def _problems_on_hub(what: str, source: ProblemsSource, command: str) -> Finding:
    """The first dataset that the Hub does not give, or the last one that it gives."""
    remedy = fetch_or(command, "repo: /its/path, the dataset as a folder")
    wanted = [(part.repo, part.revision) for part in source.parts if part.on_hub]
    found = [on_hub(what, "dataset", str(repo), str(revision), remedy) for repo, revision in wanted]
    return next((finding for finding in found if finding.state != "ok"), found[-1])


# --- benchmarks ------------------------------------------------------------------------------------


def benchmarks(chosen: dict[str, Benchmark], paths: Paths, command: str) -> list[Finding]:
    """Local ones have files; for the others the Hub is asked. command: fetches them."""
    findings = []
    for name, benchmark in chosen.items():
        source = benchmark.source
        if isinstance(source, LocalBenchmark) and not any((ROOT / source.path).iterdir()):
            remedy = f"Put the data in, as evalscope's {benchmark.adapter} reads it"
            findings.append(failed(f"benchmark {name}", f"{source.path} is empty", remedy))
        elif isinstance(source, HubBenchmark) and not paths.output("benchmark_fetch", benchmark=name).exists():
            found = on_hub(f"benchmark {name}", "dataset", source.repo, source.revision, fetch_or(command))
            findings.append(found)
    if not findings:
        findings.append(ok("benchmarks", f"{len(chosen)} here, or made here"))
    return findings


def judges(chosen: dict[str, Benchmark]) -> list[Finding]:
    """Whether the variable of every judge's key is set; its value is never shown."""
    return [_key(name, benchmark.judge) for name, benchmark in chosen.items() if benchmark.judge is not None]


def _key(name: str, judge: Judge) -> Finding:
    what = f"judge of {name}"
    if not os.environ.get(judge.key_variable):
        remedy = f"export {judge.key_variable}=..., or {name}.judge.key_variable; take the judge out to do without"
        return failed(what, f"{judge.key_variable} is not set", remedy)
    address = urlsplit(judge.url)
    if address.scheme == "http" and address.hostname not in LOOPBACK:
        return warning(what, f"the key goes to {address.hostname} unencrypted", f"Use https in {name}.judge.url")
    return ok(what, f"{judge.key_variable} is set")
