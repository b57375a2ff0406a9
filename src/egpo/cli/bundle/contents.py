"""`egpo bundle` and `egpo verify`: the results of an experiment as a folder that others can check."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from huggingface_hub import DatasetCardData

from egpo.analysis.labels import label, note
from egpo.common.errors import UserError
from egpo.common.files import sha256, write_text
from egpo.common.paths import Model, Paths, wildcards_of
from egpo.config.experiment import Catalogue
from egpo.config.matrix import evaluated_milestones, trained_models
from egpo.report.document import document
from egpo.report.entries import Entry, Files, entries_of
from egpo.report.model_card import model_card

SUMS, EXPERIMENT = "SHA256SUMS", "experiment.yaml"
OF_TRAINING = ("verl.yaml", "manifest.json", "metrics.jsonl", "responses.parquet", "samples.jsonl")
UNCHECKED = (
    "not checked: that the trainings and evaluations give these records. That takes the models, and GPUs where they "
    "were used: run the experiment again with experiment.yaml's settings."
)


def _each(files: Files) -> Iterable[Path]:
    return files.values() if isinstance(files, dict) else [files]


def _contents(catalogue: Catalogue, paths: Paths) -> list[Path]:
    """Every file of a bundle that is there before it: inputs and outputs of the report's entries, and of trainings."""
    found: dict[Path, None] = {}
    for entry in entries_of(catalogue):
        for files in entry.input_files(catalogue, paths).values():
            found |= dict.fromkeys(_each(files))
        found |= dict.fromkeys(entry.files(catalogue, paths))
    for model in trained_models(catalogue.experiment):
        found |= dict.fromkeys(paths.training(*model) / name for name in OF_TRAINING)
        found[paths.evaluation(*model) / "manifest.json"] = None
    for milestone in evaluated_milestones(catalogue.experiment):
        found[paths.output("evaluate_milestone", **wildcards_of(milestone))] = None
    found[paths.output("data_card", "card")] = None
    return list(found)


def _card(catalogue: Catalogue, paths: Paths, model: Model) -> tuple[Path, str]:
    """The card of a trained model, and its path in the bundle."""
    training = paths.training(*model)
    records = paths.evaluation(*model) / "records.parquet"
    return training / "README.md", model_card(catalogue, model, records, training / "verl.yaml")


def _page(catalogue: Catalogue, paths: Paths) -> str:
    """README.md of a bundle, with front matter for a dataset of the Hub."""
    experiment = catalogue.experiment
    front = DatasetCardData(
        language="en",
        tags=["math", "reinforcement-learning", "evaluation-records"],
        configs=[
            {"config_name": "records", "data_files": f"{paths.root}/evaluate/**/records.parquet"},
            {"config_name": "responses", "data_files": f"{paths.root}/train/**/responses.parquet"},
        ],
    ).to_yaml()
    names = [f"{label(catalogue, *model[:2])}, seed {model[2]}" for model in trained_models(experiment)]
    lines = [
        f"---\n{front}\n---",
        f"# Results of the experiment {experiment.experiment}",
        "",
        f"Start with `{paths.root}/report.html`. Records of every answer and of every response in training, settings, "
        "tables and figures; the weights are not here. Models: " + "; ".join(names) + ".",
        "",
        "To check it, with the repository that made it: `egpo verify FOLDER` computes every table and figure again "
        "from the records, and compares each byte.",
    ]
    return document(lines, note(catalogue))


def bundle(catalogue: Catalogue, out: Path, push: str | None) -> int:
    """Copy the results of a finished experiment to `out`, with cards and hashes.

    Args:
        push: owner/name of a dataset on the Hub that it is uploaded to.

    Raises:
        UserError: `out` is there, the experiment is not finished, or the Hub refuses the upload.
    """
    paths = Paths(catalogue.experiment.experiment)
    if out.exists():
        raise UserError(f"{out}: is there already. Name a new folder.")
    contents = _contents(catalogue, paths)
    if missing := [file for file in contents if not file.exists()]:
        raise UserError(
            f"{len(missing)} files of the experiment are missing, such as {missing[0]}. Finish it first: snakemake all."
        )
    for file in contents:
        _copy(file, out / _inside(file))
    dumped = yaml.safe_dump(catalogue.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(out / EXPERIMENT, dumped)
    cards = [_card(catalogue, paths, model) for model in trained_models(catalogue.experiment)]
    for path, text in [*cards, (Path("README.md"), _page(catalogue, paths))]:
        write_text(out / path, text)
    write_text(out / SUMS, "".join(f"{sha256(out / name)}  {name}\n" for name in _names(out)))
    print(f"{out}: {len(contents)} files, with cards and hashes. Check it: egpo verify {out}")
    if push:
        _upload(out, push)
    return 0


def _inside(file: Path) -> Path:
    """The place of a file in the bundle; one that lies elsewhere, as a plan can, keeps its name alone."""
    return Path(file.name) if file.is_absolute() else file


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)


def _names(folder: Path) -> list[str]:
    """Every file below a folder but the list of hashes, in order."""
    files = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return sorted(str(file) for file in files if str(file) != SUMS)


def _upload(folder: Path, repo: str) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api = HfApi()
        api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        url = api.upload_folder(repo_id=repo, folder_path=folder, repo_type="dataset")
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise UserError(
            f"--push {repo}: the upload failed ({str(error).splitlines()[0]}). Log in with `hf auth login`, or set "
            f"HF_TOKEN; the bundle is complete in {folder}."
        ) from error
    print(f"uploaded, private: {url}")


# --- verify ----------------------------------------------------------------------------------------


def _hashes(folder: Path) -> Iterator[str]:
    """What is wrong with the files: changed, missing, or not in the list."""
    pairs = (line.split("  ", 1) for line in (folder / SUMS).read_text().splitlines())
    listed = {name: digest for digest, name in pairs}
    there = set(_names(folder))
    yield from (f"{name}: is missing" for name in sorted(listed.keys() - there))
    yield from (f"{name}: is not in {SUMS}" for name in sorted(there - listed.keys()))
    for name in sorted(listed.keys() & there):
        if sha256(folder / name) != listed[name]:
            yield f"{name}: was changed, its hash is not that in {SUMS}"


def _again(entry: Entry, catalogue: Catalogue, paths: Paths) -> Iterator[str]:
    """What differs when a table or figure is made again from the records."""
    with tempfile.TemporaryDirectory(prefix="egpo-verify-") as place:
        try:
            given, files = entry.given(catalogue), entry.input_files(catalogue, paths)
            files = {name: _bundled(value) for name, value in files.items()}
            entry.write(given, files, Path(place))
        except Exception as error:  # of whatever reads a file that is broken
            yield f"{entry.name}: cannot be made again ({type(error).__name__}: {error})"
            return
        for file in entry.files(catalogue, paths):
            if not file.exists() or file.read_bytes() != (Path(place) / file.name).read_bytes():
                yield f"{file}: differs from what the records give"


def _cards_again(catalogue: Catalogue, paths: Paths) -> Iterator[str]:
    for model in trained_models(catalogue.experiment):
        try:
            path, text = _card(catalogue, paths, model)
        except UserError as error:
            yield f"the card of {'/'.join(map(str, model))}: cannot be made again ({error})"
            continue
        if not path.exists() or path.read_text() != text:
            yield f"{path}: differs from what the records give"


def _bundled(files: Files) -> Files:
    if isinstance(files, dict):
        return {key: _inside(file) for key, file in files.items()}
    return _inside(files)


def verify(folder: Path) -> int:
    """Check a bundle: hashes, and every table, figure and card again from its records.

    Raises:
        UserError: it is no bundle.
    """
    if not (folder / SUMS).is_file() or not (folder / EXPERIMENT).is_file():
        raise UserError(f"{folder}: is no bundle: it has no {SUMS} or no {EXPERIMENT}. Make one with `egpo bundle`.")
    wrong = list(_hashes(folder))
    print(f"hashes: {len(_names(folder))} files, {len(wrong)} wrong")
    catalogue = Catalogue.model_validate(yaml.safe_load((folder / EXPERIMENT).read_text()))
    paths, made = Paths(catalogue.experiment.experiment), 0
    with contextlib.chdir(folder):
        for entry in entries_of(catalogue):
            found = list(_again(entry, catalogue, paths))
            made += len(entry.files(catalogue, paths)) - len(found)
            print(f"{entry.title}: {'the same again' if not found else 'DIFFERS'}")
            wrong += found
        wrong += _cards_again(catalogue, paths)
    print("\n".join([*(f"WRONG {text}" for text in wrong), f"{made} files are the same again", UNCHECKED]))
    return 1 if wrong else 0
