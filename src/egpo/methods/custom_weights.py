"""A custom function of weights in place of Eq. (7), named by `calibration.weight`; see docs/own-experiments.md."""

from __future__ import annotations

import importlib.util
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from egpo.common.errors import UserError
from egpo.config.methods import Calibration
from egpo.methods.groups import Groups

Function = Callable[[torch.Tensor, torch.Tensor, Groups], torch.Tensor]


@cache
def _function(file: Path, name: str) -> Function:
    spec = importlib.util.spec_from_file_location(f"custom_{file.stem}", file)
    assert spec and spec.loader, "the configuration takes .py files only"
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return getattr(module, name)
    except (Exception, SystemExit) as error:  # the user's file can raise anything
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"calibration.weight: {file}:{name} cannot be loaded ({reason}). Fix the file.") from error


def _called(entropies: torch.Tensor, correct: torch.Tensor, groups: Groups, calibration: Calibration) -> torch.Tensor:
    """What the function returns. It gets copies: whatever it changes in them, others go on with the same numbers."""
    assert calibration.custom is not None
    file, name = calibration.custom
    function = _function(file, name)
    try:
        return function(entropies.clone(), correct.clone(), groups)
    except (Exception, SystemExit) as error:  # the user's function can raise anything
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        place = f" in line {lines[-1]}" if lines else ""
        raise UserError(
            f"calibration.weight: {calibration.weight} raised {type(error).__name__}{place}: {error}. Fix it: it "
            "is called with (entropies, correct, groups); see docs/own-experiments.md."
        ) from error


def custom_weights(
    entropies: torch.Tensor, correct: torch.Tensor, groups: Groups, calibration: Calibration
) -> torch.Tensor:
    """(n,) float32 weights of a step's responses by the function that `calibration.weight` names.

    Args:
        entropies: (n,) nats per token; nan for a response that has none, which gets the weight 1.
        correct: (n,) bool.

    Raises:
        UserError: if the function cannot be loaded, raises, or does not return one finite number for each response.
    """
    weights = _called(entropies, correct, groups, calibration)
    if not isinstance(weights, torch.Tensor) or weights.shape != entropies.shape:
        found = tuple(weights.shape) if isinstance(weights, torch.Tensor) else type(weights).__name__
        raise UserError(
            f"calibration.weight: {calibration.weight} returned {found}: a tensor of one number for each of the "
            f"{len(entropies)} responses is wanted."
        )
    weights = torch.where(torch.isnan(entropies), 1.0, weights.float())
    if not torch.isfinite(weights).all():
        worst = int(torch.nonzero(~torch.isfinite(weights))[0])
        raise UserError(
            f"calibration.weight: {calibration.weight} returned {weights[worst].item()} for a response of entropy "
            f"{entropies[worst].item():.3g}: weights must be finite."
        )
    return weights
