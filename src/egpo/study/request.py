"""What `egpo study` asks the process for that trains (egpo.study.run)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from egpo.common.files import read_json
from egpo.common.paths import Paths
from egpo.config.experiment import Catalogue
from egpo.study import blocks, rows
from egpo.study.origin import origin

Training = tuple[str, str, int, int]  # backbone, method, seed, attempt


@dataclass(frozen=True)
class Request:
    """What `egpo study` asks for.

    Attributes:
        out: the CSV.
        questions: file of egpo.study.measure.Questions.
        at_once: trainings at the same time.
        commit: whether to commit the CSV after each row.
        command: that was given.
    """

    catalogue: Catalogue
    out: Path
    questions: Path
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    at_once: int
    commit: bool
    command: str

    @classmethod
    def read(cls, file: Path) -> Request:
        values: dict[str, Any] = read_json(file)
        values |= {name: Path(values[name]) for name in ("out", "questions")}
        values |= {"catalogue": Catalogue.model_validate(values["catalogue"])}
        return cls(**values | {name: tuple(values[name]) for name in ("methods", "seeds")})

    @property
    def folder(self) -> Path:
        """For logs, and for the rows on their way to the CSV."""
        return Paths(self.catalogue.experiment.experiment).root / "study"

    def left(self) -> list[Training]:
        """The trainings that have no row yet."""
        return blocks.left(rows.read(self.out), self.origins, self.methods, self.seeds)

    def failed(self) -> list[blocks.Key]:
        """The trainings that have failed for good."""
        return blocks.failed(rows.read(self.out))

    @cached_property
    def origins(self) -> dict[str, blocks.Origin]:
        """By backbone, what a training has in the columns rows.ORIGIN: as it is when first asked for."""
        return self.origins_now()

    def origins_now(self) -> dict[str, blocks.Origin]:
        """The same as it is now."""
        return {name: origin(self.catalogue, name, self.questions) for name in self.catalogue.experiment.backbones}
