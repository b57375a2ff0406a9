"""Checks of backbones: their numbers of tokens, and the files of a local model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from egpo.cli.checks.data import lacking, problem_places
from egpo.common.errors import UserError
from egpo.common.files import is_lfs_pointer, lfs_remedy, missing_shards, read_json
from egpo.common.paths import ROOT
from egpo.config.backbones import LocalModel
from egpo.config.experiment import Catalogue
from egpo.config.loader import place


def lengths(catalogue: Catalogue, source: str) -> Iterator[str]:
    """Numbers of tokens that do not fit into the context of a backbone."""
    experiment = catalogue.experiment
    final = experiment.data.final_prompt_tokens
    for name in experiment.backbones:
        backbone, where = catalogue.backbones[name], place(catalogue.experiment, source, "backbones", name)
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
                f"than max_model_len {backbone.max_model_len}: `uncertainty` needs room for both. Lower one of them."
            )


def worked_examples(catalogue: Catalogue, source: str) -> Iterator[str]:
    """Worked examples of warm-ups that are not there, or lack a column."""
    for name in catalogue.experiment.backbones:
        warm_up = catalogue.backbones[name].warm_up
        if warm_up is None:
            continue
        key = f"{place(catalogue.experiment, source, 'backbones', name)}.warm_up.sets"
        missing = list(problem_places({f"{key}.{index}": part for index, part in enumerate(warm_up.sets)}))
        yield from missing
        if missing:
            continue
        from egpo.data.problem_files import worked_rows

        for index, part in enumerate(warm_up.sets):
            try:
                if not part.on_hub:
                    next(worked_rows(part, f"{key}.{index}"), None)
            except UserError as error:
                yield f"{' '.join(str(error).splitlines())}"


def lost_weights(folder: Path) -> list[str]:
    """Files of weights that the index, or the numbers in the names of the others, say should be there."""
    weights = list(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    try:
        named = set(read_json(index).get("weight_map", {}).values()) if index.is_file() else set()
    except ValueError:
        return ["a readable model.safetensors.index.json"]
    return sorted({*missing_shards(weights), *(named - {file.name for file in weights})})


def files(catalogue: Catalogue, source: str) -> Iterator[str]:
    """Files that a local model lacks. Hugging Face's other formats hold code (pickle) and are not read."""
    for name, backbone in catalogue.backbones.items():
        if not isinstance(backbone.source, LocalModel):
            continue
        folder = ROOT / backbone.source.path
        where = place(catalogue.experiment, source, "backbones", name)
        where += ".model" if where.startswith(f"{source}: extra_models") else ".source.path"
        runs = name in catalogue.experiment.backbones or name in catalogue.experiment.extra_models
        if runs and not any(folder.glob("*.safetensors")):
            yield f"{where}: '{folder}' has no *.safetensors: save the model with save_pretrained."
        yield from (f"{where}: {lfs_remedy(file)}" for file in sorted(folder.iterdir()) if is_lfs_pointer(file))
        yield from lacking(where, folder, lost_weights(folder))
        tokenizer = folder / "tokenizer_config.json"
        if not tokenizer.is_file():
            yield f"{where}: '{folder}' has no tokenizer_config.json: save the tokenizer there with save_pretrained."
            continue
        if not (folder / "chat_template.jinja").is_file() and '"chat_template"' not in tokenizer.read_text():
            yield (
                f"{where}: '{folder}' has no chat template, so prompts cannot be formatted: put one there as "
                "chat_template.jinja."
            )
        text = "".join(file.read_text() for file in folder.glob("*token*.json"))
        if backbone.thinks and '"</think>"' not in text:
            yield f"{where}: thinks: true, but the tokenizer in '{folder}' has no token </think>: set thinks: false."
