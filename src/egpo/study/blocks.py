"""The trainings of a study by blocks: those of a seed, which are compared with each other.

They start from the same weights and rows, by the same code. The weights are made anew on each machine, and processors
round differently. So a seed that was stopped half-way and goes on from other weights is trained again as a whole; the
rows of its first part stay in the CSV, and are not used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import cast

import pandas as pd

from egpo.common.paths import BASE, BASE_SEED
from egpo.study.rows import ORIGIN

ATTEMPTS = 2
Key = tuple[str, str, int]  # backbone, method, seed
Origin = tuple[str, ...]  # values of the columns ORIGIN, which the trainings of a block share


def _blocks(table: pd.DataFrame) -> dict[Origin, pd.DataFrame]:
    """Rows of one seed by their origin."""
    return {cast(Origin, origin): rows for origin, rows in table.groupby(ORIGIN, sort=False, dropna=False)}


def _open(block: pd.DataFrame, methods: Iterable[str]) -> dict[str, int]:
    """The methods that a block lacks, each with the attempts that have failed."""
    tried = Counter(block["method"])
    done = set(block.loc[block["status"] == "ok", "method"])
    return {name: tried[name] for name in methods if name not in done and tried[name] < ATTEMPTS}


def left(
    table: pd.DataFrame, origins: dict[str, Origin], methods: Iterable[str], seeds: Iterable[int]
) -> list[tuple[str, str, int, int]]:
    """(backbone, method, seed, attempt) of what has no row yet: the untrained model, then all methods, seed by seed.

    So a study that is stopped early has whole blocks, in which the methods met the same problems in the same order.
    Second attempts are the last of their seed: what a machine fails at now, it may bear later.

    Args:
        origins: by backbone, what a training started now would have in the columns ORIGIN.
    """
    methods, wanted = list(methods), []
    for seed in seeds:
        of_seed = []
        for backbone, origin in origins.items():
            mine = table[(table["backbone"] == backbone) & (table["seed"] == seed)]
            of = _blocks(mine)
            if any(not _open(block, methods) for block in of.values()):
                continue
            lacking = _open(of.get(origin, table[:0]), methods)
            of_seed += [(backbone, name, seed, tried + 1) for name, tried in lacking.items()]
        wanted += sorted(of_seed, key=lambda training: training[-1])
    untrained = []
    for backbone in dict.fromkeys(backbone for backbone, *_ in wanted):
        mine = table[(table["backbone"] == backbone) & (table["method"] == BASE)]
        measured = _blocks(mine).get(origins[backbone], table[:0])
        untrained += [(backbone, name, BASE_SEED, tried + 1) for name, tried in _open(measured, [BASE]).items()]
    return untrained + wanted


def failed(table: pd.DataFrame) -> list[Key]:
    """The trainings that have failed for good, in the blocks that count."""
    used = of_blocks(table)
    tried = used.groupby(["backbone", "method", "seed"], sort=False)["status"]
    return [cast(Key, key) for key, status in tried if len(status) >= ATTEMPTS and not (status == "ok").any()]


def of_blocks(table: pd.DataFrame) -> pd.DataFrame:
    """Without the trainings of a seed that was trained again as a whole: its block with the most methods counts."""
    kept = []
    for (_, seed), mine in table.groupby(["backbone", "seed"], sort=False):
        most = max(reversed(_blocks(mine).values()), key=lambda block: (block["status"] == "ok").sum())  # or the last
        kept += [mine.index if seed == BASE_SEED else most.index]
    return table.loc[sorted(place for index in kept for place in index)]
