"""What no single key of the configuration can tell, as far as it is known before anything runs.

Parts that contradict each other, entries that would change nothing, folders that lack a file: whatever a run would
else find out after hours. Each check yields one line per mistake: file, key and remedy. Nothing here imports torch,
verl or evalscope, for every start of Snakemake comes through.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.config.backbones import Backbone, LocalModel
from egpo.config.benchmarks import LocalBenchmark, SyntheticBenchmark
from egpo.config.data import LocalSource, ProblemsSource, Quotas, StandInSource
from egpo.config.experiment import Catalogue, Experiment
from egpo.config.files import read_files
from egpo.config.loader import load
from egpo.config.matrix import possible_trainings
from egpo.config.methods import Calibration, Method
from egpo.config.training import Training
from egpo.data.problem_files import files_of
from egpo.synthetic.benchmark import FORMATS

# verl's settings that are ours to give, with the key that gives them; "" where another value would break the run.
_ACTOR, _ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
OURS = {
    "data.train_batch_size": "training.train_batch_size",
    f"{_ACTOR}.ppo_mini_batch_size": "training.train_batch_size",
    f"{_ROLLOUT}.n": "training.rollouts_per_prompt",
    f"{_ROLLOUT}.temperature": "training.temperature",
    f"{_ROLLOUT}.top_p": "training.top_p",
    f"{_ROLLOUT}.top_k": "training.top_k",
    f"{_ROLLOUT}.gpu_memory_utilization": "training.gpu_memory_utilization",
    f"{_ACTOR}.optim.lr": "training.learning_rate",
    "trainer.total_training_steps": "training.total_training_steps",
    "trainer.total_epochs": "training.total_epochs",
    "trainer.save_freq": "training.save_freq",
    "trainer.test_freq": "training.test_freq",
    "trainer.nnodes": "training.nodes",
    "trainer.n_gpus_per_node": "training.gpus_per_node",
    "trainer.device": "training.platform",
    "data.seed": "training_seeds",
    "actor_rollout_ref.model.trust_remote_code": "",
    "data.trust_remote_code": "",
    "data.max_prompt_length": "max_prompt_length of the backbone",
    "data.max_response_length": "max_response_length of the backbone",
    f"{_ACTOR}.clip_ratio": "clip_ratio_low and clip_ratio_high of the method",
    f"{_ACTOR}.clip_ratio_low": "clip_ratio_low of the method",
    f"{_ACTOR}.clip_ratio_high": "clip_ratio_high of the method",
    f"{_ACTOR}.clip_ratio_c": "clip_ratio_c of the method",
    "algorithm.filter_groups": "dynamic_sampling of the method",
    "algorithm.egpo": "calibration of the method",
    "algorithm.adv_estimator": "",
    "algorithm.rollout_correction.bypass_mode": "",
    "algorithm.use_kl_in_reward": "",
    "actor_rollout_ref.model.path": "",
    f"{_ACTOR}.checkpoint": "",
    f"{_ROLLOUT}.name": "",
    "data.train_files": "",
    "data.val_files": "",
    "egpo_run": "",
    "reward.custom_reward_function": "",
    "trainer.default_local_dir": "",
    "trainer.resume_mode": "",
    "trainer.v1.trainer_mode": "",
}


def check(catalogue: Catalogue, source: str) -> None:
    """Raise UserError, one line per mistake; `source` is the experiment's file."""
    experiment = catalogue.experiment
    parts = (
        _labels(catalogue, source),
        _methods(catalogue, source),
        _lengths(catalogue, source),
        _benchmarks(catalogue, source),
        _models(catalogue, source),
        _data(experiment, source),
        _ablations(experiment, source),
        _trainings(catalogue, source),
        _evaluations(experiment, source),
    )
    if lines := list(dict.fromkeys(line for part in parts for line in part)):
        raise UserError("\n".join(lines))


def load_checked(values: dict[str, Any], source: str) -> Catalogue:
    """The experiment described by `values`, with every check. `source` is the file that messages name.

    Raises UserError, one line per mistake.
    """
    catalogue = load(values, source)
    check(catalogue, source)
    return catalogue


def place(catalogue: Catalogue, source: str, kind: str, name: str) -> str:
    """File and key of an entry of a catalogue: the experiment's own, or that of config/<kind>.yaml."""
    if name in catalogue.experiment.extra_models and kind == "backbones":
        return f"{source}: extra_models.{name}"
    own = name in getattr(catalogue.experiment.define, kind)
    return f"{source}: define.{kind}.{name}" if own else f"config/{kind}.yaml: {name}"


def _labels(catalogue: Catalogue, source: str) -> Iterator[str]:
    """Tables know a row by its label."""
    experiment = catalogue.experiment
    methods = (*experiment.methods, *(experiment.ablations.methods if experiment.ablations else ()))
    models = (*experiment.backbones, *experiment.extra_models)
    for kind, names in (("methods", methods), ("backbones", models), ("benchmarks", experiment.benchmarks)):
        entries, first = getattr(catalogue, kind), {}
        for name in dict.fromkeys(names):
            other = first.setdefault(entries[name].label, name)
            if other != name:
                yield (
                    f"{place(catalogue, source, kind, name)}.label: '{entries[name].label}' is the label of '{other}' "
                    "too, and tables could not tell them apart: choose another."
                )


# --- methods and backbones -----------------------------------------------------------------------


def _methods(catalogue: Catalogue, source: str) -> Iterator[str]:
    for name in catalogue.experiment.define.methods:
        yield from _own_method(name, catalogue.methods[name], f"{source}: define.methods.{name}")
    for backbone_name, name in possible_trainings(catalogue.experiment):
        method, backbone = catalogue.methods[name], catalogue.backbones[backbone_name]
        where, scope = place(catalogue, source, "methods", name), method.calibration.scope
        if method.calibration.own is not None:
            yield from _own_weights(*method.calibration.own, f"{where}.calibration.weight")
        if scope != "response" and not backbone.thinks:
            yield (
                f"{where}.calibration.scope: '{scope}' is a part of responses with thoughts, and those of "
                f"'{backbone_name}' have none: set scope: response, or, if its prompts open <think>, thinks: true in "
                "its entry."
            )
        if method.overlong_buffer and method.overlong_buffer.len >= backbone.max_response_length:
            yield (
                f"{where}.overlong_buffer.len: {method.overlong_buffer.len} tokens leave none unpunished of the "
                f"{backbone.max_response_length} that '{backbone_name}' may write: give fewer."
            )


def _own_method(name: str, method: Method, where: str) -> Iterator[str]:
    """An entry under `define` that is not what it seems to be."""
    if name == "base":
        yield f"{where}: 'base' is the untrained backbone: choose another name."
    calibration = method.calibration
    idle = [
        key
        for key, field in Calibration.model_fields.items()
        if key not in ("weight", "nsr") and getattr(calibration, key) != field.default
    ]
    if calibration.weight == "none" and idle:
        yield (
            f"{where}.calibration.{idle[0]}: changes nothing where weight is none, as here: add weight: entropy, or "
            f"take {', '.join(idle)} out."
        )
    if calibration.nsr and method.dynamic_sampling:
        yield (
            f"{where}.calibration.nsr: is about entirely-incorrect groups, which dynamic_sampling replaces: turn one "
            "of them off."
        )


def _own_weights(file: Path, function: str, where: str) -> Iterator[str]:
    """The user's function is looked for in the text of its file: to import it would import torch."""
    try:
        found = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
    except (OSError, SyntaxError, ValueError) as error:
        yield f"{where}: {file} cannot be read ({error}): give the path of a Python file from the repository."
        return
    named = next((node for node in found if node.name == function), None)
    if named is None:
        known = ", ".join(node.name for node in found) or "none"
        yield f"{where}: {file} has no function '{function}'. Its functions: {known}."
    elif len(named.args.posonlyargs) + len(named.args.args) - len(named.args.defaults) != 3:
        yield f"{where}: {function} must take (entropies, correct, groups): see docs/own-experiments.md."


def _lengths(catalogue: Catalogue, source: str) -> Iterator[str]:
    """Tokens that a training or the rollouts would find too many."""
    experiment = catalogue.experiment
    final = experiment.data.final_prompt_tokens
    for name in experiment.backbones:
        backbone, where = catalogue.backbones[name], place(catalogue, source, "backbones", name)
        if backbone.max_prompt_length + backbone.max_response_length > backbone.max_model_len:
            yield (
                f"{where}.max_model_len: {backbone.max_model_len} is less than max_prompt_length "
                f"{backbone.max_prompt_length} and max_response_length {backbone.max_response_length} together: "
                "lower these."
            )
        if final > backbone.max_prompt_length:
            yield (
                f"{source}: data.final_prompt_tokens: {final} lets prompts through that stop a training of '{name}', "
                f"whose max_prompt_length is {backbone.max_prompt_length}: lower it, or raise that."
            )
        least = backbone.min_evaluation_length or backbone.max_evaluation_length
        if experiment.uncertainty is not None and final + least > backbone.max_model_len:
            yield (
                f"{where}.max_evaluation_length: {least} and a prompt of data.final_prompt_tokens {final} are more "
                f"than max_model_len {backbone.max_model_len}: `uncertainty` could not ask it. Lower one of them."
            )


def _models(catalogue: Catalogue, source: str) -> Iterator[str]:
    """Files that a user's own model lacks. Hugging Face's other formats hold code (pickle) and are not read."""
    for name, backbone in catalogue.backbones.items():
        if not isinstance(backbone.source, LocalModel):
            continue
        folder = ROOT / backbone.source.path
        where = place(catalogue, source, "backbones", name)
        where += ".model" if where.startswith(f"{source}: extra_models") else ".source.path"
        runs = name in catalogue.experiment.backbones or name in catalogue.experiment.extra_models
        if runs and not any(folder.glob("*.safetensors")):
            yield f"{where}: '{folder}' holds no *.safetensors: save the model with save_pretrained."
        tokenizer = folder / "tokenizer_config.json"
        if not tokenizer.is_file():
            yield f"{where}: '{folder}' holds no tokenizer_config.json: save the tokenizer there with save_pretrained."
            continue
        if not (folder / "chat_template.jinja").is_file() and '"chat_template"' not in tokenizer.read_text():
            yield (
                f"{where}: '{folder}' has no chat template, so prompts have no form: put one there as "
                "chat_template.jinja."
            )
        text = "".join(file.read_text() for file in folder.glob("*token*.json"))
        if backbone.thinks and '"</think>"' not in text:
            yield f"{where}: thinks: true, but the tokenizer in '{folder}' has no token </think>: set thinks: false."


# --- benchmarks and data -------------------------------------------------------------------------


def adapters() -> list[str]:
    """evalscope's names of benchmarks, from the index beside its code."""
    spec = find_spec("evalscope")
    if spec is None or spec.origin is None:
        raise UserError("evalscope is not installed in this environment: run `make env`.")
    return list(json.loads((Path(spec.origin).parent / "benchmarks" / "_index.json").read_text()))


def _benchmarks(catalogue: Catalogue, source: str) -> Iterator[str]:
    known = adapters()
    for name, benchmark in catalogue.benchmarks.items():
        where = place(catalogue, source, "benchmarks", name)
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
        if isinstance(benchmark.source, LocalBenchmark) and not any((ROOT / benchmark.source.path).iterdir()):
            yield (
                f"{where}.source.path: '{benchmark.source.path}' is empty: it must hold the files that evalscope's "
                f"{benchmark.adapter} reads."
            )


def _data(experiment: Experiment, source: str) -> Iterator[str]:
    data, found = experiment.data, experiment.data.source
    if isinstance(found, LocalSource):
        for name in ("data", "extended"):
            if not any((ROOT / found.path / name).glob("*.parquet")):
                yield (
                    f"{source}: data.source.path: '{found.path}' holds no {name}/*.parquet: kind local wants "
                    "OpenR1-Math's two folders of shards, data/ and extended/. For files of problems and answers, "
                    "take kind problems."
                )
    if isinstance(found, ProblemsSource) and not files_of(found):
        yield (
            f"{source}: data.source.path: '{found.path}' is no .jsonl or .parquet file, and no folder that holds one. "
            "Give the path of your problems."
        )
    if isinstance(found, StandInSource) and isinstance(data.quotas, Quotas):
        for subset, rows in (("default", found.default_rows), ("extended", found.extended_rows)):
            asked = sum(quota for key, quota in data.quotas.model_dump().items() if key.startswith(subset))
            if asked > rows:
                yield (
                    f"{source}: data.quotas: {asked} rows of {subset} are asked, but data.source makes {rows}: raise "
                    f"{subset}_rows, or lower the quotas."
                )


def _ablations(experiment: Experiment, source: str) -> Iterator[str]:
    if experiment.ablations is None:
        return
    for key in ("methods", "benchmarks"):
        names = getattr(experiment.ablations, key)
        if len(set(names)) < len(names):
            yield f"{source}: ablations.{key}: an entry stands twice. Take one out."
    if experiment.main_method in experiment.ablations.methods:
        yield (
            f"{source}: ablations.methods: '{experiment.main_method}' is main_method, which the table has "
            "anyway: take it out."
        )


# --- training and evaluation ---------------------------------------------------------------------


def _each(experiment: Experiment, names: Iterable[str], source: str) -> Iterator[tuple[Experiment, str]]:
    """The experiment as it is for each backbone, with where its keys stand; alike ones are looked at once."""
    yield experiment, f"{source}: "
    for name in names:
        if name in experiment.by_backbone:
            yield experiment.of(name), f"{source}: by_backbone.{name}: "


def _trainings(catalogue: Catalogue, source: str) -> Iterator[str]:
    experiment = catalogue.experiment
    backbone = catalogue.backbones[experiment.backbones[0]]
    for mine, where in _each(experiment, experiment.backbones, source):
        training = mine.training
        gpus, responses = (
            training.nodes * training.gpus_per_node,
            training.train_batch_size * training.rollouts_per_prompt,
        )
        if training.platform == "cuda" and responses % gpus:
            yield (
                f"{where}training.train_batch_size: {training.train_batch_size} x rollouts_per_prompt "
                f"{training.rollouts_per_prompt} responses cannot be shared out evenly to {gpus} GPUs: take a multiple."
            )
        if training.platform == "cpu" and gpus > 1:
            yield f"{where}training.gpus_per_node: {gpus} GPUs, but platform: cpu. Set platform: cuda, or 1 GPU."
        rows = mine.data.quotas.total - mine.data.validation_rows
        steps = training.total_training_steps or rows // training.train_batch_size * (training.total_epochs or 0)
        if training.save_freq > steps:
            yield (
                f"{where}training.save_freq: {training.save_freq} is more than the {steps} steps of a training, so "
                f"a failure would lose all of it: give at most {steps}."
            )
        if training.overrides:
            yield from _verl(training, backbone, where)


def _flat(settings: dict[str, Any], above: str = "") -> Iterator[str]:
    """Dotted keys of nested settings."""
    for key, value in settings.items():
        dotted = f"{above}{key.removeprefix('+')}"
        yield dotted
        if isinstance(value, dict):
            yield from _flat(value, f"{dotted}.")


def _verl(training: Training, backbone: Backbone, where: str) -> Iterator[str]:
    for key in _flat(training.overrides):
        ours = next((name for name in OURS if key == name or key.startswith(f"{name}.")), None)
        if ours is not None:
            remedy = f"set {OURS[ours]}" if OURS[ours] else "take it out: the workflow depends on its own value"
            yield f"{where}training.overrides.{key}: is not for `overrides` to say; {remedy}."
    for key, value in training.overrides.items():
        if isinstance(value, dict) and "." not in key and not key.startswith("+"):
            example = f"{key}.{next(iter(value), 'name')}: value"
            yield f"{where}training.overrides.{key}: write dotted keys, such as {example}."
    # Hydra takes a second: only those who change verl's settings pay for it.
    from egpo.training.settings import verl_config

    try:
        verl_config(training, Method(label="any"), backbone, ROOT, ROOT, ROOT, 1, ROOT)
    except UserError as error:
        yield f"{where}{error}"


def _evaluations(experiment: Experiment, source: str) -> Iterator[str]:
    for mine, where in _each(experiment, experiment.backbones, source):
        evaluation = mine.evaluation
        if evaluation.platform == "cuda" and evaluation.kv_cache_gib is not None:
            yield (
                f"{where}evaluation.kv_cache_gib: is for platform: cpu; on GPUs vLLM takes what is free. Take it out."
            )
        if evaluation.platform == "cpu" and evaluation.gpus > 1:
            yield (f"{where}evaluation.gpus: {evaluation.gpus} GPUs, but platform: cpu. Set platform: cuda, or 1 GPU.")
        if evaluation.temperature == 0 and (len(evaluation.seeds) > 1 or mine.uncertainty is not None):
            yield (
                f"{where}evaluation.temperature: 0 gives the same answer for every seed: raise it, or give one seed "
                "and no `uncertainty`."
            )


if __name__ == "__main__":  # files as Snakemake would lay them over each other, checked in a second
    try:
        load_checked(read_files(sys.argv[1:]), " + ".join(sys.argv[1:]))
    except UserError as error:
        sys.exit(str(error))
