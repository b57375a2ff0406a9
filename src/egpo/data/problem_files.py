"""Problems and answers of a user, from files or datasets, as rows of OpenR1-Math's schema; other columns are empty."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from egpo.common.errors import UserError
from egpo.common.files import is_hidden, is_lfs_pointer, lfs_remedy
from egpo.common.json_lines import read_objects
from egpo.common.paths import ROOT
from egpo.config.backbones import WorkedSet
from egpo.config.data import ProblemSet, ProblemsSource
from egpo.data.schema import FOLDERS, SCHEMA, write_shards
from egpo.runtime import hub

Report = Callable[[str], None]
Found = tuple[str, dict[str, Any]]  # where a row stands, for messages, and the row itself

ROWS_PER_SHARD = 10_000
SUFFIXES = (".jsonl", ".parquet")
SECTION = "data.source"  # of the configuration, for messages


def files_of(part: ProblemSet) -> list[Path]:
    """The .jsonl and .parquet files of a set, by name; empty if there is none. Hidden files of a folder do not count.

    macOS leaves such as `._train.jsonl` in its archives, which are no JSON.
    """
    if part.path is None:
        return []
    place = ROOT / part.path
    found = [file for file in place.iterdir() if not is_hidden(file)] if place.is_dir() else [place]
    return sorted(file for file in found if file.suffix.lower() in SUFFIXES and file.is_file())


def every_file(parts: Sequence[ProblemSet]) -> list[Path]:
    """The files of all sets that are on this machine, for the rule that reads them."""
    folders = [ROOT / part.repo for part in parts if part.repo is not None and not part.on_hub]
    below = [file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file()]
    return [file for part in parts for file in files_of(part)] + [file for file in below if not is_hidden(file)]


# --- reading ---------------------------------------------------------------------------------------


def _read_file(file: Path) -> Iterator[Found]:
    if file.suffix.lower() == ".jsonl":
        yield from ((f"{file}: line {number}", row) for number, row in read_objects(file))
        return
    if is_lfs_pointer(file):
        raise UserError(lfs_remedy(file))
    count = 0
    try:
        for batch in pq.ParquetFile(file).iter_batches():
            yield from ((f"{file}: row {count + number}", row) for number, row in enumerate(batch.to_pylist(), start=1))
            count += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file}: not a readable parquet file ({error}): make it again.") from None
    if not count:
        raise UserError(f"{file}: this file is empty: it has no row. Give it some, or remove it.")


def _read_dataset(part: ProblemSet, section: str) -> Iterator[Found]:
    """The rows of a dataset, by `datasets.load_dataset`, which keeps them in its own cache."""
    if part.on_hub:
        hub.allow()
    # The import takes a second, which only those who use datasets wait for.
    from datasets import load_dataset

    assert part.repo is not None
    place = part.repo if part.on_hub else str(ROOT / part.repo)
    try:
        table = load_dataset(place, part.name, split=part.split, revision=part.revision if part.on_hub else None)
    except Exception as error:  # the library's errors, the Hub's, and those of every network layer below it
        remedy = (
            "Run this step where there is a network (what is fetched stays), or give a copy of the dataset as a folder"
            if part.on_hub
            else "The folder must hold what the dataset's page on the Hub lists under its files"
        )
        raise UserError(
            f"{section}.repo: cannot read {_described(part)} ({type(error).__name__}: {error}). Check repo, name, "
            f"split and revision. {remedy}."
        ) from error
    for number, row in enumerate(table, start=1):
        yield f"{part.repo}: row {number}", row


def _described(part: ProblemSet) -> str:
    words = [f"the split {part.split} of {part.repo}"]
    words += [f"configuration {part.name}"] if part.name else []
    return ", ".join(words + ([f"at {part.revision}"] if part.revision else []))


def _places(part: ProblemSet, section: str = SECTION) -> Iterator[tuple[str, Iterator[Found]]]:
    """The label of each file or dataset of a set, and its rows."""
    if part.repo is not None:
        yield part.label or Path(part.repo).name, _read_dataset(part, section)
    for file in files_of(part):
        yield part.label or file.stem, _read_file(file)


# --- rows ------------------------------------------------------------------------------------------


def _text(row: dict[str, Any], key: str, part: ProblemSet, where: str, section: str = SECTION) -> str:
    """The value of the column that `part`, in a section of the configuration, names under `key`; "" for null."""
    column = getattr(part, key)
    if column not in row:
        raise UserError(
            f"{section}.{key}: '{column}' is not a column of {where}, which has {', '.join(row)}. Name the column "
            f"that holds the {key}."
        )
    value = row[column]
    if not isinstance(value, str | int | float | None):
        raise UserError(f"{where}: {column} {value!r} is neither text nor a number: write it as the {key}'s text.")
    return "" if value is None else str(value)


def _divided(text: str, part: ProblemSet) -> tuple[str, str]:
    """What stands before and after the mark `answer_after`. Without the mark there is no answer."""
    if part.answer_after is None:
        return "", text
    before, mark, answer = text.rpartition(part.answer_after)
    return (before, answer) if mark else (text, "")


def _row(row: dict[str, Any], part: ProblemSet, label: str, where: str) -> dict[str, Any]:
    problem, text = (_text(row, key, part, where) for key in ("problem", "answer"))
    _, answer = _divided(text, part)
    uuid = hashlib.blake2b(f"{problem}\n\n{answer}".encode(), digest_size=16).hexdigest()
    return {"uuid": uuid, "problem": problem, "answer": answer, "source": label}


def rows(source: ProblemsSource) -> Iterator[dict[str, Any]]:
    """Rows of SCHEMA; the uuid is a hash of problem and answer, so that repeated rows are dropped as `duplicate-uuid`.

    Raises:
        UserError: for a broken file, and for one without one of the columns.
    """
    for part in source.parts:
        for label, found in _places(part):
            yield from (_row(row, part, label, where) for where, row in found)


def worked_rows(part: WorkedSet, section: str) -> Iterator[tuple[str, str, str]]:
    """Problem, worked solution and answer of each row; "" for what is missing.

    Raises:
        UserError: as `rows` does, with the `section` that `part` stands in.
    """
    for _, found in _places(part, section):
        for where, row in found:
            problem, text = (_text(row, key, part, where, section) for key in ("problem", "answer"))
            solution, answer = _divided(text, part)
            yield problem, _text(row, "solution", part, where, section) if part.solution else solution, answer


def check_first_rows(source: ProblemsSource) -> None:
    """Read the first row of every file, which tells most that can be wrong with it; datasets are not fetched for it.

    Raises:
        UserError: as `rows` does.
    """
    for part in source.parts:
        for file in files_of(part):
            for where, row in islice(_read_file(file), 1):
                _row(row, part, file.stem, where)


# --- writing ---------------------------------------------------------------------------------------


def _count(part: ProblemSet, label: str, found: Iterator[Found], report: Report) -> int:
    """The number of rows of one file or dataset. Reports those that lack the mark before the answer."""
    count, unmarked = 0, 0
    for where, row in found:
        _row(row, part, label, where)
        count += 1
        unmarked += part.answer_after is not None and part.answer_after not in _text(row, "answer", part, where)
    if unmarked and unmarked == count:
        raise UserError(
            f"data.source.answer_after: '{part.answer_after}' is in no answer of {label}, so no row would have an "
            "answer. Write the mark that stands before the answers, or take the key out."
        )
    if unmarked:
        report(
            f"{label}: {unmarked} of {count} answers are without '{part.answer_after}'; they count as missing, and "
            "their rows are dropped as no-answer"
        )
    return count


def write_problems(source: ProblemsSource, folder: Path, report: Report) -> None:
    """Write the problems as shards of the subset `default` under `folder`; `extended` has a shard without rows.

    Raises:
        UserError: as `rows` does, and where no answer of a file or dataset has the mark `answer_after`.
    """
    total = sum(_count(part, label, found, report) for part in source.parts for label, found in _places(part))
    write_shards(rows(source), ROWS_PER_SHARD, total, folder / FOLDERS["default"])
    empty = folder / FOLDERS["extended"]
    empty.mkdir(parents=True, exist_ok=True)
    pq.write_table(SCHEMA.empty_table(), empty / "train-00000-of-00001.parquet")
