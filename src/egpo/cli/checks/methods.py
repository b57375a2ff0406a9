"""Checks of methods: their calibration, and what they need of the backbones that they train."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from egpo.config.experiment import Catalogue
from egpo.config.loader import place
from egpo.config.matrix import possible_trainings
from egpo.config.methods import Calibration, Method


def methods(catalogue: Catalogue, source: str) -> Iterator[str]:
    """Custom methods, and every method with each of its backbones."""
    for name in catalogue.experiment.define.methods:
        yield from _custom_method(name, catalogue.methods[name], f"{source}: define.methods.{name}")
    for backbone_name, name in possible_trainings(catalogue.experiment):
        method, backbone = catalogue.methods[name], catalogue.backbones[backbone_name]
        where, scope = place(catalogue.experiment, source, "methods", name), method.calibration.scope
        if method.calibration.custom is not None:
            yield from _custom_weights(*method.calibration.custom, f"{where}.calibration.weight")
        if scope != "response" and not backbone.thinks:
            yield (
                f"{where}.calibration.scope: '{scope}' is a part of responses with thoughts, and those of "
                f"'{backbone_name}' have none: set scope: response, or, if its prompts open <think>, thinks: true in "
                "its entry."
            )
        if method.overlong_buffer and method.overlong_buffer.len >= backbone.max_response_length:
            yield (
                f"{where}.overlong_buffer.len: {method.overlong_buffer.len} tokens are not fewer than the "
                f"{backbone.max_response_length} that '{backbone_name}' may write: give fewer."
            )


def _custom_method(name: str, method: Method, where: str) -> Iterator[str]:
    """An entry under `define` with keys that would change nothing."""
    if name == "base":
        yield f"{where}: 'base' is the untrained backbone: choose another name."
    calibration = method.calibration
    acting = {"weight", "nsr"} | ({"control"} if calibration.control in ("random_reward", "nsr_only") else set())
    idle = [
        key
        for key, field in Calibration.model_fields.items()
        if key not in acting and getattr(calibration, key) != field.default
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


def _custom_weights(file: Path, function: str, where: str) -> Iterator[str]:
    """The function is read from the text of its file: an import would import torch."""
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
