"""What a bundle of results holds: what it copies from the experiment, and what is written for it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData

from egpo.analysis.labels import label, note
from egpo.common import git
from egpo.common.files import sha256
from egpo.common.paths import ROOT, Paths, wildcards_of
from egpo.config.experiment import Catalogue
from egpo.config.matrix import evaluated_milestones, trained_models
from egpo.report.document import document
from egpo.report.entries import Entry, Files, entries_of
from egpo.report.model_card import model_card

SUMS, EXPERIMENT, ORIGIN, PAGE = "SHA256SUMS", "experiment.yaml", "origin.json", "README.md"
OF_TRAINING = ("verl.yaml", "manifest.json", "metrics.jsonl", "responses.parquet", "samples.jsonl")
# Inputs of entries that the repository has. A bundle has no copy of them: what checks it must not come with it.
OF_REPOSITORY = ("template", "paper")
# What git and the Hub's client put beside the files that they bring.
NOT_OF_BUNDLE = (".git", ".gitattributes", ".cache")
DRAWN_BY = ("matplotlib", "numpy", "pandas")  # whose versions decide bytes of figures and tables


def _each(files: Files) -> Iterable[Path]:
    return files.values() if isinstance(files, dict) else [files]


def contents(catalogue: Catalogue, paths: Paths) -> list[Path]:
    """Every file of a bundle that is there before it: inputs and outputs of the report's entries, of trainings, and
    users' functions of weights."""
    found: dict[Path, None] = {}
    for entry in entries_of(catalogue):
        for name, files in entry.input_files(catalogue, paths).items():
            found |= dict.fromkeys(_each(files) if name not in OF_REPOSITORY else ())
        found |= dict.fromkeys(entry.files(catalogue, paths))
    for model in trained_models(catalogue.experiment):
        found |= dict.fromkeys(paths.training(*model) / name for name in OF_TRAINING)
        found[paths.evaluation(*model) / "manifest.json"] = None
    for milestone in evaluated_milestones(catalogue.experiment):
        found[paths.output("evaluate_milestone", **wildcards_of(milestone))] = None
    found[paths.output("data_card", "card")] = None
    return [*found, *custom_files(catalogue)]


def custom_files(catalogue: Catalogue) -> list[Path]:
    """The files of users' functions of weights."""
    functions = (method.calibration.custom for method in catalogue.methods.values())
    return list(dict.fromkeys(function[0] for function in functions if function is not None))


def inside(file: Path) -> Path:
    """The place of a file in the bundle; one that lies outside the repository keeps its name alone."""
    if not file.is_absolute():
        return file
    return file.relative_to(ROOT) if file.is_relative_to(ROOT) else Path(file.name)


def inputs(entry: Entry, catalogue: Catalogue, paths: Paths) -> dict[str, Files]:
    """What an entry reads, as paths from a bundle's folder; what the repository has is taken from there."""

    def placed(name: str, file: Path) -> Path:
        return ROOT / file if name in OF_REPOSITORY else inside(file)

    found: dict[str, Files] = {}
    for name, files in entry.input_files(catalogue, paths).items():
        if isinstance(files, dict):
            found[name] = {key: placed(name, file) for key, file in files.items()}
        else:
            found[name] = placed(name, files)
    return found


def names(folder: Path) -> list[str]:
    """Every file of a bundle but the list of hashes, in order."""
    files = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return sorted(str(file) for file in files if str(file) != SUMS and file.parts[0] not in NOT_OF_BUNDLE)


def sums(folder: Path) -> str:
    """The list of hashes, as sha256sum writes it."""
    return "".join(f"{sha256(folder / name)}  {name}\n" for name in names(folder))


def origin() -> dict[str, Any]:
    """What made a bundle, as far as it decides bytes of tables and figures."""
    return {"commit": git.current(), "packages": {name: version(name) for name in DRAWN_BY}}


def cards(catalogue: Catalogue, paths: Paths) -> Iterable[tuple[Path, str]]:
    """The card of each trained model, and its path in the bundle. Raises UserError: records are not whole."""
    for model in trained_models(catalogue.experiment):
        training, records = paths.training(*model), paths.evaluation(*model) / "records.parquet"
        yield training / PAGE, model_card(catalogue, model, records, training / "verl.yaml")


def page(catalogue: Catalogue, paths: Paths, made_by: dict[str, Any]) -> str:
    """The page of a bundle, with front matter for a dataset of the Hub.

    Args:
        made_by: what `origin` said when the bundle was made.
    """
    experiment = catalogue.experiment
    front = DatasetCardData(
        language="en",
        tags=["math", "reinforcement-learning", "evaluation-records"],
        configs=[
            {"config_name": "records", "data_files": f"{paths.root}/evaluate/**/records.parquet"},
            {"config_name": "responses", "data_files": f"{paths.root}/train/**/responses.parquet"},
        ],
    ).to_yaml()
    models = [f"{label(catalogue, *model[:2])}, seed {model[2]}" for model in trained_models(experiment)]
    packages = ", ".join(f"{name} {number}" for name, number in made_by["packages"].items())
    lines = [
        f"---\n{front}\n---",
        f"# Results of the experiment {experiment.experiment}",
        "",
        f"Start with `{paths.root}/report.html`. Records of every answer and of every response in training, settings, "
        "tables and figures; the weights are not here. Models: " + "; ".join(models) + ".",
        "",
        f"To check it, with the repository that made it (commit {made_by['commit'] or 'unknown'}; {packages}): "
        "`egpo verify FOLDER` computes every table and figure again from the records, and compares each byte.",
    ]
    return document(lines, note(catalogue))
