"""Source rows from a folder, the Hub or a user's files, all as a folder of shards.

The stand-in is in egpo.synthetic.standin, so that a change of its code does not fetch or read other sources again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egpo.common.errors import UserError
from egpo.common.files import read_json, sha256, write_json
from egpo.common.paths import ROOT
from egpo.config.data import HubSource, LocalSource, ProblemsSource
from egpo.data.problem_files import write_problems
from egpo.data.schema import FOLDERS, open_shard, shards
from egpo.runtime.hub import snapshot

Report = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """Shards that are ready to be read: each file with its subset and content hash, and the number of all rows."""

    folder: Path
    shards: tuple[tuple[Path, str, str], ...]
    rows: int


def prepare(source: HubSource | LocalSource | ProblemsSource, folder: Path, report: Report) -> None:
    """Fetch or write the shards into `folder`, or find those of a local source, and `record` them.

    Raises:
        UserError: for a missing, broken or incomplete shard, and if the Hub cannot be reached.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder
    if isinstance(source, HubSource):
        patterns = [f"{name}/*.parquet" for name in FOLDERS.values()]
        snapshot("dataset", source.repo, source.revision, folder, "data.source", report, patterns)
    elif isinstance(source, ProblemsSource):
        report(f"reading the problems of {', '.join(str(part.path or part.repo) for part in source.parts)}")
        write_problems(source, folder, report)
    else:
        place = ROOT / source.path
    record(source.model_dump(mode="json"), place, folder, report)


def record(source: dict[str, Any], place: Path, folder: Path, report: Report) -> None:
    """Check every shard under `place`, and write `folder`/manifest.json with their place, rows and hashes.

    Raises:
        UserError: for a missing, broken or incomplete shard.
    """
    rows: dict[str, int] = {}
    for subset, files in shards(place).items():
        counts = {_name(file, place): open_shard(file).metadata.num_rows for file in files}
        report(f"{subset}: {sum(counts.values())} rows in {len(counts)} shards")
        rows |= counts
    hashes = {name: sha256(place / name) for name in rows}
    # Relative or absolute, `folder / manifest["folder"]` finds the shards.
    where = "." if place == folder else str(place.resolve())
    write_json(folder / "manifest.json", {"source": source, "folder": where, "rows": rows, "sha256": hashes})


def prepared(folder: Path) -> Prepared:
    """The shards that `record` listed in `folder`/manifest.json.

    Raises:
        UserError: if a shard is missing, new or changed since.
    """
    manifest = read_json(folder / "manifest.json")
    place = folder / manifest["folder"]
    found = tuple((file, subset, sha256(file)) for subset, files in shards(place).items() for file in files)
    now = {_name(file, place): content for file, _, content in found}
    changed = sorted(
        name for name in now.keys() | manifest["sha256"].keys() if now.get(name) != manifest["sha256"].get(name)
    )
    if changed:
        raise UserError(
            f"{place / changed[0]}: this shard has changed since it was prepared. "
            f"Delete {folder / 'manifest.json'} and run again."
        )
    return Prepared(place, found, sum(manifest["rows"].values()))


def _name(file: Path, place: Path) -> str:
    return file.relative_to(place).as_posix()
