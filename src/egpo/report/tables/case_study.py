"""The case study (Figure 4): the problem that training changed most, chosen by a rule and not by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from egpo.analysis.labels import label, note
from egpo.common.files import write_text
from egpo.common.hashing import digest
from egpo.common.paths import BASE, BASE_SEED, Model
from egpo.config.experiment import Catalogue
from egpo.report.document import document, fenced
from egpo.uncertainty.rollout_files import read_problems, read_rollouts

COLUMNS = ["problem", "uuid", "trial", "correct", "logprobs", "response"]


def read(path: Path) -> pd.DataFrame:
    """problem, uuid, trial, correct, entropy (Eq. 5) and response of every rollout."""
    table = pa.concat_tables(read_rollouts(path, COLUMNS)).to_pandas()
    return table.assign(entropy=[-float(np.mean(values)) for values in table.pop("logprobs")])


def choose(before: pd.DataFrame, after: pd.DataFrame) -> int:
    """The problem whose share of correct responses rose most; among equals the one with the smallest keyed hash."""
    rise = after.groupby("problem")["correct"].mean() - before.groupby("problem")["correct"].mean()
    uuids = after.groupby("problem")["uuid"].first()
    return int(min(rise.index, key=lambda problem: (-rise[problem], digest(0, "case study", uuids[problem]))))


def typical(responses: pd.DataFrame) -> pd.Series:
    """The first response with the more frequent outcome; a correct one where both are equally frequent."""
    mostly = responses["correct"].mean() >= 0.5
    return responses[responses["correct"] == mostly].sort_values("trial").iloc[0]


def section(
    catalogue: Catalogue, backbone: str, method: str, tables: list[pd.DataFrame], problems: list[Any]
) -> list[str]:
    """One backbone: the problem, and a response of the base and of the method."""
    chosen = choose(*tables)
    problem = problems[chosen]
    lines = [
        f"## {catalogue.backbones[backbone].label}",
        "",
        *fenced(problem["prompt"][0]["content"]),
        "",
        f"Reference answer: `{problem['reward_model']['ground_truth']}`",
    ]
    for name, table in zip((BASE, method), tables, strict=True):
        mine = table[table["problem"] == chosen]
        one = typical(mine)
        lines += [
            "",
            f"### {label(catalogue, backbone, name)}",
            "",
            f"{int(mine['correct'].sum())} of {len(mine)} responses correct; mean entropy {mine['entropy'].mean():.3f} "
            f"nats per token. Response {one['trial']}, {'correct' if one['correct'] else 'incorrect'}, entropy "
            f"{one['entropy']:.3f}:",
            "",
            *fenced(one["response"]),
        ]
    return lines


def write_case_study(catalogue: Catalogue, rollouts: dict[Model, Path], problems: Path, out: Path) -> None:
    """Write case_study.md into `out`: of each backbone its base against the main method, first training seed.

    Args:
        rollouts: `rollouts.parquet` of each model.
        problems: the held-out problems.
    """
    experiment = catalogue.experiment
    method = experiment.main_method
    rows = read_problems(problems)
    lines = [
        "# Case study",
        "",
        f"Per backbone the problem whose share of correct responses rose most from the base to "
        f"{catalogue.methods[method].label}, of {len(rows)} that no training saw; of each model the first response "
        "with the outcome that most of its responses have. The choice favours the method: it shows what changed, not "
        "how often.",
    ]
    for backbone in experiment.backbones:
        paths = (rollouts[backbone, BASE, BASE_SEED], rollouts[backbone, method, experiment.training_seeds[0]])
        lines += ["", *section(catalogue, backbone, method, [read(path) for path in paths], rows)]
    write_text(out / "case_study.md", document(lines, note(catalogue)))
