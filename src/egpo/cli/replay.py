"""`egpo replay`: other methods on the recorded responses of one training."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egpo.analysis import replay as analysis
from egpo.common.errors import UserError
from egpo.common.files import write_text
from egpo.config.files import read_yaml
from egpo.config.loader import read_methods
from egpo.config.methods import Calibration, Method, OverlongBuffer
from egpo.training.responses import RESPONSES, step_files


@dataclass(frozen=True)
class Run:
    """A training that is finished or under way.

    Attributes:
        files: its record: one file, or one for each step so far.
        own: its method, as far as advantages depend on it.
    """

    folder: Path
    files: list[Path]
    own: Method
    seed: int


def find(folder: Path) -> Run:
    """The training in a folder.

    Raises:
        UserError: there is none with a record.
    """
    settings = folder / "verl.yaml"
    files = [folder / RESPONSES] if (folder / RESPONSES).exists() else step_files(folder / "work")
    if not settings.exists() or not files:
        raise UserError(
            f"{folder}: holds no {RESPONSES} with a verl.yaml. Name the folder of a training, such as "
            "results/demo/train/tiny-math/egpo/seed-1; trainings of an earlier version have no record."
        )
    verl = read_yaml(settings)
    algorithm, kwargs = verl["algorithm"], verl["reward"].get("reward_kwargs") or {}
    overlong = kwargs.get("overlong_buffer_cfg")
    own = Method(
        label="the run's own",
        calibration=Calibration.model_validate(algorithm["egpo"]),
        overlong_buffer=OverlongBuffer(len=overlong["len"], penalty_factor=overlong["penalty_factor"])
        if overlong
        else None,
        shuffled_answers=Path(verl["data"]["train_files"]).name.startswith("shuffled-answers"),
    )
    return Run(folder, files, own, algorithm.get("egpo_seed", 0))


def chosen(names: list[str], known: dict[str, Method]) -> dict[str, Method]:
    """The methods of the command line: names, or functions as file.py:name; without any, all that are known.

    Raises:
        UserError: for one that is neither.
    """
    methods: dict[str, Method] = {}
    for name in names or known:
        if re.fullmatch(r".+\.py:[A-Za-z_]\w*", name):
            values: dict[str, Any] = {"label": name, "calibration": {"weight": name, "nsr": True}}
            methods[name] = Method.model_validate(values)
        elif name in known:
            methods[name] = known[name]
        else:
            raise UserError(f"--method {name}: is neither a function (file.py:name) nor one of: {', '.join(known)}.")
    return methods


def replay(folder: Path, names: list[str], config: list[Path], out: Path | None) -> int:
    """Write replay.md, .csv, .png and .pdf, and print the table.

    Args:
        config: files with further methods (`define.methods`).
        out: folder; by default `replay` in that of the training.
    """
    from egpo.report.figures.replay import draw
    from egpo.report.tables.replay import page

    run = find(folder)
    methods = {"run": run.own, **chosen(names, read_methods(config))}
    found = analysis.replay(run.files, run.own, run.seed, methods)
    title = f"{folder}, seed {run.seed}"
    text = "\n".join(["# Replay", "", analysis.LIMITS, "", *page(title, found, methods)]) + "\n"
    place = out or folder / "replay"
    write_text(place / "replay.md", text)
    write_text(place / "replay.csv", found.table.to_csv(index=False, float_format="%.6g"))
    draw(found.table, methods, f"Replay of {title}", "", place)
    print(f"{text}\nAlso in {place}, with a figure and every step in replay.csv.")
    return 1 if found.differences else 0
