"""`egpo bundle`: copy the results of an experiment to a folder that others can check, and upload it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import yaml

from egpo.cli.bundle.contents import EXPERIMENT, ORIGIN, PAGE, SUMS, cards, contents, inside, origin, page, sums
from egpo.cli.bundle.verify import check_is_bundle, differences, wrong_hashes
from egpo.common.errors import UserError
from egpo.common.files import write_json, write_text
from egpo.common.paths import Paths
from egpo.config.experiment import Catalogue
from egpo.runtime import hub


def bundle(catalogue: Catalogue, out: Path, push: str | None) -> int:
    """Copy the results of a finished experiment to `out`, with cards and hashes.

    Args:
        push: owner/name of a dataset on the Hub that it is uploaded to; then `out` may be a bundle that is there.

    Raises:
        UserError: `out` is there, the experiment is not finished or was changed since, or the Hub refuses the upload.
    """
    if push and not re.fullmatch(r"[\w.-]+/[\w.-]+", push):
        raise UserError(f"--push {push}: is not the name of a dataset on the Hub. Give it as OWNER/NAME.")
    if not out.exists():
        _make(catalogue, out)
    elif not push:
        raise UserError(f"{out}: is there already. Name a new folder, or upload this one with --push.")
    else:
        check_is_bundle(out)
        if wrong := list(wrong_hashes(out)):
            raise UserError(f"{out}: {wrong[0]}. Remove the folder; the same command makes it again.")
    if push:
        _upload(out, push)
    return 0


def _make(catalogue: Catalogue, out: Path) -> None:
    """The folder appears when it is whole and was checked."""
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        count = _fill(catalogue, part)
        if wrong := differences(part, lambda _: None):
            raise UserError(
                f"{len(wrong)} files are not what the records give, such as {wrong[0]}: configuration or code has "
                "changed since they were made. Run `snakemake all` with this configuration again, then bundle."
            )
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(f"{out}: {count} files, with cards and hashes; tables and figures were made again from its records.")
    print(f"Others check it by: egpo verify {out.name}")


def _fill(catalogue: Catalogue, folder: Path) -> int:
    """Write everything into `folder`; returns the number of copied files."""
    paths = Paths(catalogue.experiment.experiment)
    found = contents(catalogue, paths)
    if missing := [file for file in found if not file.exists()]:
        raise UserError(
            f"{len(missing)} files of the experiment are missing, such as {missing[0]}. Finish it first: snakemake all."
        )
    places: dict[Path, Path] = {}
    for file in found:
        if (other := places.setdefault(inside(file), file)) != file:
            raise UserError(f"{other} and {file} would both be {inside(file)} in the bundle: give one another name.")
        to = folder / inside(file)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to)
    made_by = origin()
    write_json(folder / ORIGIN, made_by)
    write_text(
        folder / EXPERIMENT, yaml.safe_dump(catalogue.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    )
    for path, text in [*cards(catalogue, paths), (Path(PAGE), page(catalogue, paths, made_by))]:
        write_text(folder / path, text)
    write_text(folder / SUMS, sums(folder))
    return len(found)


def _upload(folder: Path, repo: str) -> None:
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        url = api.upload_folder(repo_id=repo, folder_path=folder, repo_type="dataset")
    except Exception as error:  # the Hub's errors and those of every network layer below it
        raise UserError(
            f"--push {repo}: the upload failed ({hub.reason(error)}). Log in with `hf auth login`, or set "
            f"HF_TOKEN. The bundle is complete in {folder}; the same command uploads it."
        ) from error
    print(f"uploaded, private: {url}")
