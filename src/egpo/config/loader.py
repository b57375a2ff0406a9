"""An experiment from its values: parsed, completed from the catalogues, and checked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.config.backbones import Architecture, Backbone, HubModel, LocalModel
from egpo.config.benchmarks import Benchmark, LocalBenchmark
from egpo.config.data import Data, LocalSource
from egpo.config.experiment import Catalogue, Experiment
from egpo.config.files import merged, read_yaml
from egpo.config.messages import did_you_mean
from egpo.config.methods import Method
from egpo.config.parsing import parse
from egpo.config.section import Section


def _read_catalogue(name: str, model: type[Section], own: dict[str, Any]) -> dict[str, Any]:
    """Entries of config/<name>.yaml and the experiment's own."""
    entries = read_yaml(ROOT / "config" / f"{name}.yaml")
    return {key: parse(model, value, f"config/{name}.yaml: {key}") for key, value in entries.items()} | own


def _pick(names: Iterable[str], entries: dict[str, Any], key: str, source: str, file: str) -> dict[str, Any]:
    for name in names:
        if name not in entries:
            raise UserError(
                f"{source}: {key}: '{name}' is not an entry of config/{file}.{did_you_mean(name, entries)} "
                f"Known: {', '.join(entries)}."
            )
    return {name: entries[name] for name in dict.fromkeys(names)}


def with_preset(data: Any, source: str) -> Any:
    """The section `data` laid over its preset of config/data.yaml. Raises UserError for a preset that is not there."""
    if not isinstance(data, dict):
        return data
    presets = read_yaml(ROOT / "config" / "data.yaml")
    name = data.get("preset", Data.model_fields["preset"].default)
    if not isinstance(name, str) or name not in presets:
        raise UserError(
            f"{source}: data.preset: '{name}' is not an entry of config/data.yaml.{did_you_mean(str(name), presets)} "
            f"Known: {', '.join(presets)}."
        )
    return merged(presets[name], data)


def _check_listed(names: Iterable[str], known: tuple[str, ...], where: str, section: str) -> None:
    for name in names:
        if name not in known:
            raise UserError(
                f"{where}: '{name}' is not one of this experiment's {section}.{did_you_mean(name, known)} "
                f"They are: {', '.join(known)}."
            )


def _check_folder(path: Path, where: str, wants: str) -> None:
    if not (ROOT / path).is_dir():
        raise UserError(f"{where}: '{path}' is not a folder. Give the path of {wants}.")


def _check_paths(catalogue: Catalogue, source: str) -> None:
    """Every local folder that the experiment names must be there before anything runs."""

    def place(kind: str, name: str) -> str:
        own = name in getattr(catalogue.experiment.define, kind)
        return f"{source}: define.{kind}.{name}" if own else f"config/{kind}.yaml: {name}"

    for name, backbone in catalogue.backbones.items():
        if isinstance(backbone.source, LocalModel):
            further = name in catalogue.experiment.extra_models
            where = f"{source}: extra_models.{name}.model" if further else f"{place('backbones', name)}.source.path"
            _check_folder(backbone.source.path, where, "a model in Hugging Face format")
            if not (ROOT / backbone.source.path / "config.json").is_file():
                raise UserError(
                    f"{where}: '{backbone.source.path}' holds no config.json: it is no Hugging Face model. "
                    "Give a folder that is one."
                )
    for name, benchmark in catalogue.benchmarks.items():
        if isinstance(benchmark.source, LocalBenchmark):
            where = f"{place('benchmarks', name)}.source.path"
            _check_folder(benchmark.source.path, where, f"a dataset in the format of evalscope's {benchmark.adapter}")
    data = catalogue.experiment.data.source
    if isinstance(data, LocalSource):
        _check_folder(data.path, f"{source}: data.source.path", "a folder with data/ and extended/")


def _check_sense(experiment: Experiment, source: str) -> None:
    """What no single key can tell: sizes that contradict each other."""
    data, training = experiment.data, experiment.training
    rows = data.quotas.total - data.validation_rows
    if rows < training.train_batch_size:
        raise UserError(
            f"{source}: data.quotas: {data.quotas.total} rows less data.validation_rows {data.validation_rows} are "
            f"fewer than training.train_batch_size {training.train_batch_size}: raise the quotas or lower the batch."
        )
    if experiment.uncertainty is not None and not data.heldout_rows:
        raise UserError(f"{source}: data.heldout_rows: 0, but `uncertainty` asks these rows: raise it, or take it out.")
    for key in ("training_seeds", "backbones", "methods", "benchmarks"):
        values = getattr(experiment, key)
        if len(set(values)) < len(values):
            raise UserError(f"{source}: {key}: an entry stands twice. Take one out.")
    if len(set(experiment.evaluation.seeds)) < len(experiment.evaluation.seeds):
        raise UserError(
            f"{source}: evaluation.seeds: two trials with one seed would be one trial counted twice. Give others."
        )
    if "base" in experiment.methods:
        raise UserError(f"{source}: methods: 'base' is the untrained backbone and always evaluated; take it out.")


def _check_overlays(values: dict[str, Any], experiment: Experiment, source: str) -> None:
    _check_listed(experiment.by_backbone, experiment.backbones, f"{source}: by_backbone", "backbones")
    for name in experiment.by_backbone:
        parse(Experiment, merged(values, values["by_backbone"][name]), f"{source}: by_backbone.{name}")


def _further(experiment: Experiment, backbones: dict[str, Backbone], source: str) -> dict[str, Backbone]:
    """The models that are evaluated alone, as backbones: a folder if there is one, else a name on the Hub."""
    made = {}
    for name, entry in experiment.extra_models.items():
        where = f"{source}: extra_models.{name}"
        if name in backbones:
            raise UserError(f"{where}: there is a backbone of this name. Choose another one.")
        like = _pick([entry.like], backbones, f"extra_models.{name}.like", source, "backbones.yaml")[entry.like]
        local = (ROOT / entry.model).is_dir()
        kind = {"kind": "local", "path": entry.model} if local else {"kind": "hub", "repo": entry.model}
        found = re.fullmatch(r"[\w.-]+/[\w.-]+", entry.model)
        if not local and not found:
            raise UserError(f"{where}.model: '{entry.model}' is no folder, and no owner/name on the Hub.")
        values = {**like.model_dump(), "label": entry.label or name, "source": kind}
        made[name] = parse(Backbone, values, where)
    return made


def _check_architectures(experiment: Experiment, backbones: dict[str, Backbone], source: str) -> None:
    for name in experiment.backbones:
        model = backbones[name].source
        if isinstance(model, HubModel) and model.architecture is None:
            own = name in experiment.define.backbones
            where = f"{source}: define.backbones.{name}" if own else f"config/backbones.yaml: {name}"
            raise UserError(
                f"{where}.source.architecture: this key is missing. A model of the Hub that is trained needs its "
                f"sizes, for the estimate of its memory: {', '.join(Architecture.model_fields)}."
            )


def load(values: dict[str, Any], source: str) -> Catalogue:
    """The experiment described by `values`, with the catalogue entries that it names.

    Every key and every name is checked here; egpo.cli.check.load_checked adds what no single key can tell.

    `source` is the file that messages name. Raises UserError, one line per wrong key.
    """
    values = {**values, "data": with_preset(values["data"], source)} if "data" in values else values
    experiment: Experiment = parse(Experiment, values, source)
    methods = _read_catalogue("methods", Method, experiment.define.methods)
    backbones = _read_catalogue("backbones", Backbone, experiment.define.backbones)
    benchmarks = _read_catalogue("benchmarks", Benchmark, experiment.define.benchmarks)
    ablations = experiment.ablations
    _check_sense(experiment, source)
    _check_overlays(values, experiment, source)
    _pick(experiment.methods, methods, "methods", source, "methods.yaml")
    _check_listed([experiment.main_method], experiment.methods, f"{source}: main_method", "methods")
    if ablations is not None:
        # Table 2 shows base and main method beside the ablations: its backbone and benchmarks are Table 1's.
        for key, section, names in (
            ("backbone", "backbones", [ablations.backbone]),
            ("benchmarks", "benchmarks", ablations.benchmarks),
        ):
            _check_listed(names, getattr(experiment, section), f"{source}: ablations.{key}", section)
        _pick(ablations.methods, methods, "ablations.methods", source, "methods.yaml")
    _check_listed(
        experiment.data.decontamination.benchmarks or (),
        experiment.benchmarks,
        f"{source}: data.decontamination.benchmarks",
        "benchmarks",
    )
    picked = _pick(experiment.backbones, backbones, "backbones", source, "backbones.yaml")
    picked |= _pick([experiment.data.tokenizer], backbones, "data.tokenizer", source, "backbones.yaml")
    _check_architectures(experiment, picked, source)
    catalogue = Catalogue(
        experiment=experiment,
        methods=methods,
        backbones=picked | _further(experiment, backbones, source),
        benchmarks=_pick(experiment.benchmarks, benchmarks, "benchmarks", source, "benchmarks.yaml"),
    )
    _check_paths(catalogue, source)
    return catalogue
