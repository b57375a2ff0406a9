"""An experiment from its values: parsed, completed from the catalogues, and checked.

Checked here: keys, names and folders. What follows from several keys together is checked in egpo.cli.check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict

from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.config.backbones import Architecture, Backbone, GgufModel, HubModel, LocalModel
from egpo.config.benchmarks import Benchmark, LocalBenchmark
from egpo.config.data import Data, LocalSource
from egpo.config.experiment import Catalogue, Definitions, Experiment
from egpo.config.files import merged, read_yaml
from egpo.config.messages import did_you_mean
from egpo.config.methods import Method
from egpo.config.section import Section, parse

Entry = TypeVar("Entry", bound=Section)


def load(values: dict[str, Any], source: str) -> Catalogue:
    """The experiment described by `values`, with the catalogue entries that it names.

    Args:
        values: the keys of the configuration.
        source: the file that messages name.

    Raises:
        UserError: one line per wrong key.
    """
    values = {**values, "data": with_preset(values["data"], source)} if "data" in values else values
    experiment = parse(Experiment, values, source)
    methods = _read_catalogue("methods", Method, experiment.define.methods)
    backbones = _read_catalogue("backbones", Backbone, experiment.define.backbones)
    benchmarks = _read_catalogue("benchmarks", Benchmark, experiment.define.benchmarks)
    _check_values(experiment, source)
    asked = _pick(experiment.benchmarks, benchmarks, "benchmarks", source, "benchmarks.yaml")
    _check_names(experiment, methods, source)
    trained = _pick(experiment.backbones, backbones, "backbones", source, "backbones.yaml")
    trained |= _pick([experiment.data.tokenizer], backbones, "data.tokenizer", source, "backbones.yaml")
    _check_architectures(experiment, trained, source)
    catalogue = Catalogue(
        experiment=experiment,
        methods=methods,
        backbones=trained | _extra_models(experiment, backbones, source),
        benchmarks=asked,
    )
    _check_folders(catalogue, source)
    return catalogue


def with_preset(data: Any, source: str) -> Any:
    """The section `data` laid over its preset of config/data.yaml. Raises UserError for an unknown preset."""
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


class _Defines(Section):
    """A configuration file, of which only the own entries are read."""

    model_config = ConfigDict(extra="ignore")

    define: Definitions = Definitions()


def read_methods(files: Iterable[str | Path]) -> dict[str, Method]:
    """The methods of config/methods.yaml, and those that configuration files define. Raises UserError."""
    defined: dict[str, Method] = {}
    for file in files:
        defined |= parse(_Defines, read_yaml(Path(file)), str(file)).define.methods
    return _read_catalogue("methods", Method, defined)


# --- the catalogues --------------------------------------------------------------------------------


def _read_catalogue(name: str, model: type[Entry], defined: dict[str, Entry]) -> dict[str, Entry]:
    """The entries of config/<name>.yaml, and those that the experiment defines."""
    entries = read_yaml(ROOT / "config" / f"{name}.yaml")
    return {key: parse(model, value, f"config/{name}.yaml: {key}") for key, value in entries.items()} | defined


def _pick(names: Iterable[str], entries: dict[str, Entry], key: str, source: str, file: str) -> dict[str, Entry]:
    """The named entries. Raises UserError for a name without an entry."""
    for name in names:
        if name not in entries:
            raise UserError(
                f"{source}: {key}: '{name}' is not an entry of config/{file}.{did_you_mean(name, entries)} "
                f"Known: {', '.join(entries)}."
            )
    return {name: entries[name] for name in dict.fromkeys(names)}


def _extra_models(experiment: Experiment, backbones: dict[str, Backbone], source: str) -> dict[str, Backbone]:
    """The models that are only evaluated, as backbones: each is a folder if there is one, otherwise from the Hub."""
    made = {}
    for name, entry in experiment.extra_models.items():
        where = f"{source}: extra_models.{name}"
        if name in backbones:
            raise UserError(f"{where}: there is a backbone of this name. Choose another name.")
        like = _pick([entry.like], backbones, f"extra_models.{name}.like", source, "backbones.yaml")[entry.like]
        local = (ROOT / entry.model).is_dir()
        if not local and not re.fullmatch(r"[\w.-]+/[\w.-]+", entry.model):
            raise UserError(f"{where}.model: '{entry.model}' is neither a folder nor an owner/name on the Hub.")
        model = {"kind": "local", "path": entry.model} if local else {"kind": "hub", "repo": entry.model}
        values = {**like.model_dump(), "label": entry.label or name, "source": model}
        made[name] = parse(Backbone, values, where)
    return made


# --- checks ----------------------------------------------------------------------------------------


def _check_values(experiment: Experiment, source: str) -> None:
    """Entries that appear twice, and numbers of rows that do not suffice."""
    data, training = experiment.data, experiment.training
    rows = data.quotas.total - data.validation_rows
    if rows < training.train_batch_size:
        raise UserError(
            f"{source}: data.quotas: {data.quotas.total} rows minus data.validation_rows {data.validation_rows} are "
            f"fewer than training.train_batch_size {training.train_batch_size}: raise the quotas or lower the batch."
        )
    if experiment.uncertainty is not None and not data.heldout_rows:
        raise UserError(
            f"{source}: data.heldout_rows: 0, but `uncertainty` needs held-out rows: raise it, or remove `uncertainty`."
        )
    for key in ("training_seeds", "backbones", "methods", "benchmarks", "trackers"):
        values = getattr(experiment, key)
        if len(set(values)) < len(values):
            raise UserError(f"{source}: {key}: an entry is listed twice. Remove one of them.")
    evaluation = experiment.evaluation
    for key, seeds in (("seeds", evaluation.seeds), ("milestones.seeds", evaluation.of_milestones.seeds)):
        if len(set(seeds)) < len(seeds):
            raise UserError(
                f"{source}: evaluation.{key}: a seed is listed twice, so the same trial would count twice. Give others."
            )
    if "base" in experiment.methods:
        raise UserError(
            f"{source}: methods: 'base' is the untrained backbone, which is always evaluated. Remove it here."
        )


def _check_names(experiment: Experiment, methods: dict[str, Method], source: str) -> None:
    """Names that must be entries of a catalogue, or of one of the experiment's lists."""
    _check_listed(experiment, "backbones", experiment.by_backbone, f"{source}: by_backbone")
    _pick(experiment.methods, methods, "methods", source, "methods.yaml")
    _check_listed(experiment, "methods", [experiment.main_method], f"{source}: main_method")
    if (ablations := experiment.ablations) is not None:
        # Table 2 shows base and main method next to the ablations: backbone and benchmarks must be those of Table 1.
        _check_listed(experiment, "backbones", [ablations.backbone], f"{source}: ablations.backbone")
        _check_listed(experiment, "benchmarks", ablations.benchmarks, f"{source}: ablations.benchmarks")
        _pick(ablations.methods, methods, "ablations.methods", source, "methods.yaml")
    for family, compared in (experiment.study or {}).items():
        named = (name for one in compared for name in (one.first, one.second))
        _check_listed(experiment, "methods", named, f"{source}: study.{family}")
    against = experiment.data.decontamination.benchmarks or ()
    _check_listed(experiment, "benchmarks", against, f"{source}: data.decontamination.benchmarks")
    of_milestones = experiment.evaluation.milestones.benchmarks or ()
    _check_listed(experiment, "benchmarks", of_milestones, f"{source}: evaluation.milestones.benchmarks")


def _check_listed(experiment: Experiment, section: str, names: Iterable[str], where: str) -> None:
    known = getattr(experiment, section)
    for name in names:
        if name not in known:
            raise UserError(
                f"{where}: '{name}' is not one of this experiment's {section}.{did_you_mean(name, known)} "
                f"They are: {', '.join(known)}."
            )


def place(experiment: Experiment, source: str, kind: str, name: str) -> str:
    """File and key of a catalogue's entry, for messages."""
    if kind == "backbones" and name in experiment.extra_models:
        return f"{source}: extra_models.{name}"
    defined = name in getattr(experiment.define, kind)
    return f"{source}: define.{kind}.{name}" if defined else f"config/{kind}.yaml: {name}"


def _check_architectures(experiment: Experiment, backbones: dict[str, Backbone], source: str) -> None:
    for name in experiment.backbones:
        model = backbones[name].source
        if isinstance(model, HubModel) and model.architecture is None:
            raise UserError(
                f"{place(experiment, source, 'backbones', name)}.source.architecture: this key is missing. To train "
                "a model of the Hub, give its sizes for the estimate of memory: "
                f"{', '.join(Architecture.model_fields)}."
            )


def _check_folders(catalogue: Catalogue, source: str) -> None:
    """Every local folder that the experiment names must exist before anything runs."""
    experiment = catalogue.experiment
    for name, backbone in catalogue.backbones.items():
        if isinstance(backbone.source, LocalModel):
            key = "model" if name in experiment.extra_models else "source.path"
            where = f"{place(experiment, source, 'backbones', name)}.{key}"
            _check_folder(backbone.source.path, where, "a model in Hugging Face format")
            if not (ROOT / backbone.source.path / "config.json").is_file():
                raise UserError(
                    f"{where}: '{backbone.source.path}' has no config.json, so it is not a Hugging Face model. "
                    "Give the folder of one."
                )
        elif isinstance(backbone.source, GgufModel) and not (ROOT / backbone.source.path).is_file():
            where = f"{place(experiment, source, 'backbones', name)}.source.path"
            raise UserError(f"{where}: '{backbone.source.path}' is not a file. Give the path of a GGUF file.")
    for name, benchmark in catalogue.benchmarks.items():
        if isinstance(benchmark.source, LocalBenchmark):
            where = f"{place(experiment, source, 'benchmarks', name)}.source.path"
            _check_folder(benchmark.source.path, where, f"a dataset in the format of evalscope's {benchmark.adapter}")
    if isinstance(experiment.data.source, LocalSource):
        where = f"{source}: data.source.path"
        _check_folder(experiment.data.source.path, where, "a folder with data/ and extended/")


def _check_folder(path: Path, where: str, wanted: str) -> None:
    if not (ROOT / path).is_dir():
        raise UserError(f"{where}: '{path}' is not a folder. Give the path of {wanted}.")
