"""`egpo verify`: check a bundle of results by making everything again from its records.

A bundle comes from others: nothing that it holds is run, and nothing in it decides how it is checked.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib  # noqa: F401  # before the folder is entered, where it would read a file matplotlibrc
import yaml

from egpo.cli.bundle import contents
from egpo.cli.bundle.contents import EXPERIMENT, ORIGIN, PAGE, SUMS
from egpo.common.errors import UserError
from egpo.common.files import read_json, sha256
from egpo.common.paths import ROOT, Paths
from egpo.config.experiment import Catalogue
from egpo.report.entries import Entry, entries_of

UNCHECKED = (
    "not checked: that the trainings and evaluations give these records. That takes the models, and GPUs where they "
    "were used: run the experiment again with experiment.yaml's settings. Of the card of the data, verl.yaml, "
    "samples and manifests only the hashes were checked."
)


def check_is_bundle(folder: Path) -> None:
    """Raises UserError if it is none."""
    if not (folder / SUMS).is_file() or not (folder / EXPERIMENT).is_file():
        raise UserError(f"{folder}: is no bundle: it has no {SUMS} or no {EXPERIMENT}. Make one with `egpo bundle`.")


def wrong_hashes(folder: Path) -> Iterator[str]:
    """What is wrong with the files: changed, missing, or not in the list; and lines of the list that are none."""
    listed = {}
    for number, line in enumerate((folder / SUMS).read_text(errors="replace").splitlines(), 1):
        if found := re.fullmatch(r"([0-9a-f]{64})  (.+)", line):
            listed[found[2]] = found[1]
        else:
            yield f"{SUMS}: line {number} is no hash with a name"
    there = set(contents.names(folder))
    yield from (f"{name}: is missing" for name in sorted(listed.keys() - there))
    yield from (f"{name}: is not in {SUMS}" for name in sorted(there - listed.keys()))
    for name in sorted(listed.keys() & there):
        if sha256(folder / name) != listed[name]:
            yield f"{name}: was changed, its hash is not that in {SUMS}"


def _foreign_functions(catalogue: Catalogue, folder: Path) -> list[str]:
    """Users' functions of weights that this repository does not have as the bundle has them."""

    def mine(file: Path) -> bool:
        copy, file = folder / contents.inside(file), file.resolve()
        of_repository = file.is_relative_to(ROOT) and not file.is_relative_to(folder.resolve())
        return of_repository and file.is_file() and copy.is_file() and sha256(file) == sha256(copy)

    return [str(contents.inside(file)) for file in contents.custom_files(catalogue) if not mine(file)]


def _again(entry: Entry, catalogue: Catalogue, paths: Paths) -> Iterator[str]:
    """What differs when a table or figure is made again from the records."""
    with tempfile.TemporaryDirectory(prefix="egpo-verify-") as place:
        try:
            entry.write(entry.given(catalogue), contents.inputs(entry, catalogue, paths), Path(place))
        except Exception as error:  # of whatever reads a file that is broken
            reason = f"cannot be made again ({type(error).__name__}: {error})"
            yield from (f"{file}: {reason}" for file in entry.files(catalogue, paths))
            return
        for file in entry.files(catalogue, paths):
            if not file.exists() or file.read_bytes() != (Path(place) / file.name).read_bytes():
                yield f"{file}: differs from what the records give"


def _pages_again(catalogue: Catalogue, paths: Paths, made_by: dict[str, Any]) -> Iterator[str]:
    """What differs when the bundle's page and the models' cards are written again."""
    try:
        for path, text in [*contents.cards(catalogue, paths), (Path(PAGE), contents.page(catalogue, paths, made_by))]:
            if not path.exists() or path.read_text() != text:
                yield f"{path}: differs from what the records give"
    except (UserError, ValueError, LookupError, TypeError, AttributeError) as error:
        yield f"{PAGE} and the models' cards: cannot be made again ({type(error).__name__}: {error})"


def _read(folder: Path) -> tuple[Catalogue, dict[str, Any]]:
    """The configuration and the origin of a bundle. Raises UserError."""
    try:
        name = EXPERIMENT
        catalogue = Catalogue.model_validate(yaml.safe_load((folder / name).read_text()))
        name = ORIGIN
        return catalogue, read_json(folder / name)
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"{name}: cannot be read, so nothing was made again ({said[:200]})") from error


def differences(folder: Path, report: Callable[[str], None]) -> list[str]:
    """Everything that is wrong with a bundle; progress is reported."""
    wrong = list(wrong_hashes(folder))
    report(f"hashes: {len(contents.names(folder))} files, {len(wrong)} wrong")
    try:
        catalogue, made_by = _read(folder)
    except UserError as error:
        return [*wrong, str(error)]
    if (here := contents.origin()) != made_by:
        report(f"made by {made_by}; this is {here}: other code or versions can give other bytes")
    foreign, paths, same = _foreign_functions(catalogue, folder), Paths(catalogue.experiment.experiment), 0
    with contextlib.chdir(folder):
        for entry in entries_of(catalogue):
            if foreign and entry.name == "replay":  # the one entry that runs methods
                report(
                    f"{entry.title}: NOT CHECKED, for it runs {', '.join(foreign)}, which this repository has not or "
                    "has otherwise. Read it, copy it into the repository if you trust it, and verify again."
                )
                continue
            found = list(_again(entry, catalogue, paths))
            same += len(entry.files(catalogue, paths)) - len(found)
            report(f"{entry.title}: {'the same again' if not found else 'DIFFERS'}")
            wrong += found
        wrong += _pages_again(catalogue, paths, made_by)
    report(f"{same} files of tables and figures are the same again")
    return wrong


def verify(folder: Path) -> int:
    """Check a bundle: hashes, and every table, figure and card again from its records.

    Raises:
        UserError: it is no bundle.
    """
    check_is_bundle(folder)
    wrong = differences(folder, print)
    print("\n".join([*(f"WRONG {text}" for text in wrong), UNCHECKED]))
    return 1 if wrong else 0
