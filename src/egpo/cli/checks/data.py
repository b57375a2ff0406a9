"""Checks of benchmarks and data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from egpo.common.errors import UserError
from egpo.common.files import lfs_pointers, lfs_remedy, missing_shards
from egpo.common.paths import ROOT
from egpo.config.benchmarks import LocalBenchmark, SyntheticBenchmark
from egpo.config.data import Deduplication, LocalSource, ProblemSet, ProblemsSource, Quotas, StandInSource
from egpo.config.experiment import Catalogue, Experiment
from egpo.config.loader import place
from egpo.synthetic.benchmark import FORMATS

NAMED = 3  # files of a longer list
PAPER = Deduplication(mode="paper")  # its bands are known


def adapters() -> list[str]:
    """evalscope's names of benchmarks, from the index beside its code."""
    spec = find_spec("evalscope")
    if spec is None or spec.origin is None:
        raise UserError("evalscope is not installed in this environment: run `make env`.")
    return list(json.loads((Path(spec.origin).parent / "benchmarks" / "_index.json").read_text()))


def lacking(where: str, place: object, names: Sequence[str]) -> Iterator[str]:
    """Files of a whole that are not there, in one message."""
    if names:
        shown = [*names[:NAMED], *([f"{len(names) - NAMED} more"] if names[NAMED:] else [])]
        yield f"{where}: '{place}' lacks {', '.join(shown)}: copy or download it again, whole."


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
        if isinstance(benchmark.source, LocalBenchmark):
            folder = ROOT / benchmark.source.path
            if not any(folder.iterdir()):
                yield (
                    f"{where}.source.path: '{benchmark.source.path}' is empty: it must hold the files that evalscope's "
                    f"{benchmark.adapter} reads."
                )
            yield from (f"{where}.source.path: {lfs_remedy(file)}" for file in sorted(lfs_pointers(folder)))
            lost = missing_shards(folder.rglob("*"))
            yield from lacking(f"{where}.source.path", benchmark.source.path, lost)


def data(experiment: Experiment, source: str) -> Iterator[str]:
    """Source data that lack a file, or have fewer rows than the quotas."""
    data, found = experiment.data, experiment.data.source
    if isinstance(found, LocalSource):
        for name in ("data", "extended"):
            pointers = sorted(lfs_pointers(ROOT / found.path / name))
            yield from (f"{source}: data.source.path: {lfs_remedy(file)}" for file in pointers)
            shards = list((ROOT / found.path / name).glob("*.parquet"))
            yield from lacking(f"{source}: data.source.path", f"{found.path}/{name}", missing_shards(shards))
            if not shards:
                yield (
                    f"{source}: data.source.path: '{found.path}' holds no {name}/*.parquet: kind local reads "
                    "OpenR1-Math's two folders of shards, data/ and extended/. For files of problems and answers, "
                    "take kind problems."
                )
    if isinstance(found, ProblemsSource):
        yield from _problem_files(found, source)
    if data.deduplication.mode == "paper" or "lsh" in data.decontamination.rules:
        yield from _bands(data.deduplication, source)
    if isinstance(found, StandInSource) and isinstance(data.quotas, Quotas):
        for subset, rows in (("default", found.default_rows), ("extended", found.extended_rows)):
            wanted = sum(quota for key, quota in data.quotas.model_dump().items() if key.startswith(subset))
            if wanted > rows:
                yield (
                    f"{source}: data.quotas: {wanted} rows of {subset}, but data.source makes {rows}: raise "
                    f"{subset}_rows, or lower the quotas."
                )


def problem_places(parts: Mapping[str, ProblemSet]) -> Iterator[str]:
    """Sets of problems whose files or folders are not there. parts: by the key that they stand under."""
    # The import takes half a second (sympy), which only those who use such files wait for.
    from egpo.data.problem_files import files_of

    for key, part in parts.items():
        if part.path is not None and not files_of(part):
            yield (
                f"{key}.path: there is no .jsonl or .parquet file at '{part.path}'. Give the path of your "
                "problems: a file, or a folder of files."
            )
        yield from lacking(f"{key}.path", str(part.path), missing_shards(files_of(part)))
        if part.repo is not None and not part.on_hub and not (ROOT / part.repo).is_dir():
            yield (f"{key}.repo: '{part.repo}' is not a folder. Give that of a dataset, or owner/name.")


def _problem_files(found: ProblemsSource, source: str) -> Iterator[str]:
    from egpo.data.problem_files import check_first_rows

    key = f"{source}: data.source"
    yield from problem_places(
        {f"{key}.sets.{index}" if found.sets else key: part for index, part in enumerate(found.parts)}
    )
    try:
        check_first_rows(found)
    except UserError as error:
        yield f"{source}: {' '.join(str(error).splitlines())}"


def _bands(settings: Deduplication, source: str) -> Iterator[str]:
    """A threshold for which datasketch finds no bands, which mode `paper` would say after the row filters."""
    if (settings.threshold, settings.num_perm) == (PAPER.threshold, PAPER.num_perm):
        return
    # The import takes seconds (scipy), which only those who change these values wait for.
    from egpo.data.minhash import layout

    try:
        layout(settings.model_copy(update={"mode": "paper"}))
    except ValueError as error:
        yield (
            f"{source}: data.deduplication.threshold: {settings.threshold} with num_perm {settings.num_perm} leaves "
            f"datasketch's MinHashLSH no bands ({error}): lower the threshold or raise num_perm, or take mode: "
            "verified and decontamination.rules without lsh."
        )
