"""Files of a synthetic backbone: its tokenizer, then its weights with a record of its pass rates."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from egpo.backbones.sampling import Shares
from egpo.common.files import write_json
from egpo.common.provenance import origin, stage_code
from egpo.config.backbones import Backbone, SyntheticModel, WarmUp
from egpo.runtime.job import duration
from egpo.synthetic.pass_rate import (
    expected_shares,
    fixed_problems,
    right_probabilities,
    sampled_shares,
    shortcomings,
)
from egpo.synthetic.warm_up import Teacher, make_model

Report = Callable[[str], None]


def synthetic(backbone: Backbone) -> SyntheticModel:
    assert isinstance(backbone.source, SyntheticModel), "the rules call this for synthetic backbones only"
    return backbone.source


@dataclass(frozen=True)
class Outcome:
    """Where a warm-up ended: after how many steps, with which shares, and what is out of range there."""

    steps: int
    shares: Shares
    missing: list[str]

    @property
    def sentence(self) -> str:
        shares = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in self.shares.items())
        if not self.missing:
            return f"a fair start for reinforcement after {self.steps} steps: {shares}"
        return (
            f"after {self.steps} steps not what the warm-up aims at: {'; '.join(self.missing)}. The run goes on from "
            f"it, and its trainings may have little to learn. Measured: {shares}"
        )


def teach_until_fair(
    teach: Callable[[int], float],
    expect: Callable[[], Shares],
    sample: Callable[[], Shares],
    warm_up: WarmUp,
    report: Report,
) -> Outcome:
    """Train until the first measurement in range; at most `warm_up.steps` steps, and never beyond the pass rate.

    Args:
        teach: trains for some steps, and returns the loss.
        expect: a quick measurement, made every few steps.
        sample: a slow one, made where the quick one is in range, and at the end.
    """
    done, start = 0, time.monotonic()
    while True:
        steps = min(warm_up.measure_every, warm_up.steps - done)
        loss = teach(steps)
        done += steps
        expected = expect()
        report(
            f"warm-up step {done}, at most {warm_up.steps}: loss {loss:.3f}, expected pass rate "
            f"{expected['pass_rate']:.2f}, {duration(time.monotonic() - start)}"
        )
        last = done == warm_up.steps or expected["pass_rate"] > warm_up.pass_rate[1]
        if not shortcomings(expected, warm_up) or last:
            shares = sample()
            missing = shortcomings(shares, warm_up)
            if not missing or last:
                return Outcome(done, shares, missing)


def warm_up(backbone: Backbone, tokenizer: PreTrainedTokenizerFast, report: Report) -> tuple[Any, Outcome]:
    """A synthetic backbone's model, trained from random weights, and where that ended."""
    source = synthetic(backbone)
    teacher = Teacher(make_model(source, tokenizer, backbone.max_model_len), tokenizer, source, backbone.thinks)
    problems = fixed_problems(source.warm_up.level_weights)
    outcome = teach_until_fair(
        teacher.teach,
        lambda: expected_shares(right_probabilities(teacher.average, tokenizer, problems, backbone.thinks)),
        lambda: sampled_shares(teacher.average, tokenizer, problems, backbone.max_response_length),
        source.warm_up,
        report,
    )
    return teacher.average, outcome


def write_backbone(
    backbone: Backbone, tokenizer_folder: Path, model_folder: Path, manifest: Path, report: Report
) -> None:
    """Train a synthetic backbone, and write the model and a manifest that says what it can do."""
    tokenizer: Any = AutoTokenizer.from_pretrained(tokenizer_folder)
    model, outcome = warm_up(backbone, tokenizer, report)
    report(outcome.sentence)
    shutil.rmtree(model_folder, ignore_errors=True)
    model.save_pretrained(model_folder)
    tokenizer.save_pretrained(model_folder)
    files = sorted(path for path in model_folder.iterdir() if path.is_file())
    found = {
        "steps": outcome.steps,
        "in_range": not outcome.missing,
        "found": outcome.sentence,
        "shares": outcome.shares,
    }
    origins = origin(backbone.model_dump(mode="json"), stage_code("backbone_warm_up"), files)
    write_json(manifest, {"synthetic": True, **found, **origins})
