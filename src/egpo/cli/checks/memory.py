"""Checks of memory: models that are too large for a training on a CPU."""

from __future__ import annotations

from collections.abc import Iterator

from egpo.backbones.architecture import of_backbone
from egpo.common.errors import UserError
from egpo.config.experiment import Catalogue
from egpo.config.loader import place
from egpo.training.fit import fit
from egpo.training.memory_cpu import CpuMemory


def memory(catalogue: Catalogue, source: str) -> Iterator[str]:
    """Models whose training does not fit `jobs.train.memory_gib`, even with the smallest micro batch."""
    for name in catalogue.experiment.backbones:
        backbone, own = catalogue.backbones[name], catalogue.experiment.of(name)
        where = place(catalogue.experiment, source, "backbones", name)
        try:
            found = fit(of_backbone(backbone), backbone, own.training, own.jobs.train.memory_gib).memory
        except UserError as error:
            yield f"{where}: {error}"
            continue
        if isinstance(found, CpuMemory):
            yield from (f"{where}: {line}" for line in found.warnings())
