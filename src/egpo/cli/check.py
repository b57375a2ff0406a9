"""Checks across keys: what no single key of the configuration can tell, as far as it is known before anything runs.

Parts that contradict each other, entries that would change nothing, folders that lack a file: what a run would
otherwise find out after hours. Each check yields one line per mistake: file, key and remedy. Nothing here imports
torch, verl or evalscope, because every start of Snakemake comes through.
"""

from __future__ import annotations

import locale
from collections.abc import Iterator
from typing import Any

from egpo.cli.checks.backbones import files, lengths, worked_examples
from egpo.cli.checks.data import benchmarks, data
from egpo.cli.checks.memory import memory
from egpo.cli.checks.methods import methods
from egpo.cli.checks.stages import evaluations, trackers, trainings
from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.config.experiment import Catalogue, Experiment
from egpo.config.files import read_yaml
from egpo.config.frozen import Frozen
from egpo.config.loader import load, place
from egpo.config.section import parse


def load_checked(values: dict[str, Any], source: str) -> Catalogue:
    """The experiment described by `values`, with every check.

    Args:
        values: the keys of the configuration.
        source: the file that messages name.

    Raises:
        UserError: one line per mistake.
    """
    check_encoding()
    try:
        catalogue = load(values, source)
        check(catalogue, source)
    except OSError as error:  # of a path that the configuration names, such as one in another user's folder
        raise UserError(
            f"{source}: {error.filename}: cannot be read ({error.strerror}). Correct the path, or its permissions."
        ) from None
    return catalogue


def check_encoding() -> None:
    """Raise UserError where Python would not read and write files as UTF-8, as this code and its data are."""
    if (found := locale.getpreferredencoding(False).lower()) not in ("utf-8", "utf8"):
        raise UserError(
            f"The encoding of this shell's locale is {found}: run `export PYTHONUTF8=1`, and then this again."
        )


def check(catalogue: Catalogue, source: str) -> None:
    """Raise UserError, one line per mistake; `source` is the experiment's file."""
    experiment = catalogue.experiment
    parts = (
        _labels(catalogue, source),
        methods(catalogue, source),
        lengths(catalogue, source),
        benchmarks(catalogue, source),
        files(catalogue, source),
        worked_examples(catalogue, source),
        memory(catalogue, source),
        data(experiment, source),
        _ablations(experiment, source),
        _frozen_plan(experiment, source),
        trainings(catalogue, source),
        evaluations(experiment, source),
        trackers(experiment, source),
    )
    if lines := list(dict.fromkeys(line for part in parts for line in part)):
        raise UserError("\n".join(lines))


def _labels(catalogue: Catalogue, source: str) -> Iterator[str]:
    """Tables identify a row by its label."""
    experiment = catalogue.experiment
    trained = (*experiment.methods, *(experiment.ablations.methods if experiment.ablations else ()))
    models = (*experiment.backbones, *experiment.extra_models)
    for kind, names in (("methods", trained), ("backbones", models), ("benchmarks", experiment.benchmarks)):
        entries, first = getattr(catalogue, kind), dict[str, str]()
        for name in dict.fromkeys(names):
            other = first.setdefault(entries[name].label, name)
            if other != name:
                where = place(experiment, source, kind, name)
                yield (
                    f"{where}.label: '{entries[name].label}' is the label of '{other}' "
                    "too, and tables could not tell them apart: choose another."
                )


def _ablations(experiment: Experiment, source: str) -> Iterator[str]:
    if experiment.ablations is None:
        return
    for key in ("methods", "benchmarks"):
        names = getattr(experiment.ablations, key)
        if len(set(names)) < len(names):
            yield f"{source}: ablations.{key}: an entry is listed twice. Take one out."
    if experiment.main_method in experiment.ablations.methods:
        yield (
            f"{source}: ablations.methods: '{experiment.main_method}' is main_method, which the table has "
            "anyway: take it out."
        )


def _frozen_plan(experiment: Experiment, source: str) -> Iterator[str]:
    if experiment.claims is not None:
        try:
            parse(Frozen, read_yaml(ROOT / experiment.claims), experiment.claims)
        except UserError as error:
            yield f"{source}: claims: {error} Give a plan that `egpo freeze` has written."
