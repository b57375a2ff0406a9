"""`egpo replay`: other methods on the recorded responses of one training."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egpo.analysis import replay as analysis
from egpo.common.errors import UserError
from egpo.common.files import write_text
from egpo.common.paths import ROOT
from egpo.config.files import read_yaml
from egpo.config.loader import read_methods
from egpo.config.methods import Calibration, Method, OverlongBuffer
from egpo.config.section import parse
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
    return Run(folder, files, *_own(settings))


def _own(settings: Path) -> tuple[Method, int]:
    """The method and the seed of a training, from its verl.yaml. Raises UserError for keys that are not there."""
    verl = read_yaml(settings)

    def key(section: str, name: str) -> Any:
        values = verl.get(section)
        if not isinstance(values, dict) or name not in values:
            raise UserError(
                f"{settings}: {section}.{name}: this key is missing, so the file is not that of a training of this "
                "workflow. Name the folder of one."
            )
        return values[name]

    overlong: Any = verl
    for name in ("reward", "reward_kwargs", "overlong_buffer_cfg"):
        overlong = (overlong.get(name) or {}) if isinstance(overlong, dict) else overlong
    buffer = overlong
    if isinstance(overlong, dict):
        buffer = {name: value for name, value in overlong.items() if name in OverlongBuffer.model_fields}
    where = f"{settings}: reward.reward_kwargs.overlong_buffer_cfg"
    own = Method(
        label="the run's own",
        calibration=parse(Calibration, key("algorithm", "egpo"), f"{settings}: algorithm.egpo"),
        overlong_buffer=parse(OverlongBuffer, buffer, where) if overlong else None,
        shuffled_answers=Path(str(key("data", "train_files"))).name.startswith("shuffled-answers"),
    )
    seed = verl["algorithm"].get("egpo_seed", 0)
    if not isinstance(seed, int):
        raise UserError(f"{settings}: algorithm.egpo_seed: {seed!r} is not a whole number. Copy the file again.")
    return own, seed


def chosen(names: list[str], known: dict[str, Method]) -> dict[str, Method]:
    """The methods of the command line: names, or functions as file.py:name; without any, all that are known.

    Raises:
        UserError: for one that is neither.
    """
    methods: dict[str, Method] = {}
    for name in names or known:
        if function := re.fullmatch(r"(?:[^:]*/)?([^:/]+\.py:[A-Za-z_]\w*)", name):
            values = {"label": function[1], "calibration": {"weight": name, "nsr": True}}
            methods[name] = parse(Method, values, f"--method {name}")
        elif name in known:
            methods[name] = known[name]
        else:
            raise UserError(
                f"--method {name}: is neither a function (file.py:name, with no ':' in the file's path) nor one of: "
                f"{', '.join(known)}."
            )
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
    methods = {analysis.RUN: run.own, **chosen(names, read_methods(config))}
    found = analysis.replay(run.files, run.own, run.seed, methods)
    shown = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    title = f"{shown}, seed {run.seed}"
    text = "\n".join(["# Replay", "", analysis.LIMITS, "", *page(title, found, methods)]) + "\n"
    place = out or folder / "replay"
    write_text(place / "replay.md", text)
    write_text(place / "replay.csv", found.table.to_csv(index=False, float_format="%.6g"))
    if not found.table.empty:
        draw(found.table, methods, f"Replay of {title}", "", place)
    print(f"{text}\nAlso in {place}, with every step in replay.csv.")
    _check_asked(folder, names, found.left_out)
    return 1 if found.differences else 0


def _check_asked(folder: Path, names: list[str], left_out: dict[str, str]) -> None:
    """What was asked for must be there. Raises UserError with the methods that could not be replayed."""
    asked = {analysis.RUN: f"{folder}: the run's own method", **{name: f"--method {name}" for name in names}}
    missing = [f"{text} cannot be replayed: {left_out[name]}" for name, text in asked.items() if name in left_out]
    if missing:
        raise UserError("\n".join([*missing, "Correct this, or name other methods. What could be replayed is above."]))
