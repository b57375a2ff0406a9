"""Checks of benchmarks and data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.config.benchmarks import LocalBenchmark, SyntheticBenchmark
from egpo.config.data import LocalSource, ProblemsSource, Quotas, StandInSource
from egpo.config.experiment import Catalogue, Experiment
from egpo.config.loader import place
from egpo.synthetic.benchmark import FORMATS


def adapters() -> list[str]:
    """evalscope's names of benchmarks, from the index beside its code."""
    spec = find_spec("evalscope")
    if spec is None or spec.origin is None:
        raise UserError("evalscope is not installed in this environment: run `make env`.")
    return list(json.loads((Path(spec.origin).parent / "benchmarks" / "_index.json").read_text()))


def benchmarks(catalogue: Catalogue, source: str) -> Iterator[str]:
    """Adapters that evalscope lacks, and empty folders."""
    known = adapters()
    for name, benchmark in catalogue.benchmarks.items():
        where = place(catalogue.experiment, source, "benchmarks", name)
        if isinstance(benchmark.source, SyntheticBenchmark) and benchmark.adapter not in FORMATS:
            yield (
                f"{where}.adapter: no synthetic problems in the format of '{benchmark.adapter}'. Possible: "
                f"{', '.join(FORMATS)}."
            )
        elif benchmark.adapter not in known:
            close = get_close_matches(benchmark.adapter, known, n=1)
            yield (
                f"{where}.adapter: evalscope has no benchmark '{benchmark.adapter}'."
                + "".join(f" Did you mean '{name}'?" for name in close)
                + f" All {len(known)}: evalscope benchmark-info --list."
            )
        if isinstance(benchmark.source, LocalBenchmark) and not any((ROOT / benchmark.source.path).iterdir()):
            yield (
                f"{where}.source.path: '{benchmark.source.path}' is empty: it must hold the files that evalscope's "
                f"{benchmark.adapter} reads."
            )


def data(experiment: Experiment, source: str) -> Iterator[str]:
    """Source data that lack a file, or have fewer rows than the quotas."""
    data, found = experiment.data, experiment.data.source
    if isinstance(found, LocalSource):
        for name in ("data", "extended"):
            if not any((ROOT / found.path / name).glob("*.parquet")):
                yield (
                    f"{source}: data.source.path: '{found.path}' holds no {name}/*.parquet: kind local reads "
                    "OpenR1-Math's two folders of shards, data/ and extended/. For files of problems and answers, "
                    "take kind problems."
                )
    if isinstance(found, ProblemsSource):
        yield from _problem_files(found, source)
    if isinstance(found, StandInSource) and isinstance(data.quotas, Quotas):
        for subset, rows in (("default", found.default_rows), ("extended", found.extended_rows)):
            wanted = sum(quota for key, quota in data.quotas.model_dump().items() if key.startswith(subset))
            if wanted > rows:
                yield (
                    f"{source}: data.quotas: {wanted} rows of {subset}, but data.source makes {rows}: raise "
                    f"{subset}_rows, or lower the quotas."
                )


def _problem_files(found: ProblemsSource, source: str) -> Iterator[str]:
    # The import takes half a second (sympy), which only those who use such files wait for.
    from egpo.data.problem_files import files_of

    if not files_of(found):
        yield (
            f"{source}: data.source.path: there is no .jsonl or .parquet file at '{found.path}'. Give the path of your "
            "problems: a file, or a folder of files."
        )
