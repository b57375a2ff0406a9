"""Trials: one benchmark with one seed, each in its own folder. A finished trial is not run again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from egpo.common.files import read_json
from egpo.common.hashing import stable_hash
from egpo.config.backbones import Backbone
from egpo.config.benchmarks import Benchmark
from egpo.config.evaluation import Evaluation
from egpo.inference.decoding import decoding, hashes


@dataclass(frozen=True)
class Trial:
    """One benchmark with one seed.

    Attributes:
        folder: the data of the benchmark.
        number: from 1 to `of`, the number of seeds.
        key: hash of everything that the result depends on.
        work: the trial's folder.
    """

    name: str
    benchmark: Benchmark
    folder: Path
    seed: int
    number: int
    of: int
    key: str
    work: Path

    @property
    def label(self) -> str:
        return f"{self.name} trial {self.number}/{self.of}"

    @property
    def records(self) -> Path:
        return self.work / "records.parquet"

    @property
    def mark(self) -> Path:
        """Written last: the key of the trial that was finished here, and its seconds."""
        return self.work / "finished.json"

    @property
    def finished(self) -> bool:
        """Whether this trial is finished, with the same key."""
        return self.mark.exists() and read_json(self.mark).get("key") == self.key


def list_trials(
    model: dict[str, str],
    backbone: Backbone,
    benchmarks: dict[str, Benchmark],
    folders: dict[str, Path],
    settings: Evaluation,
    work: Path,
    code: str,
) -> list[Trial]:
    """All trials of a model, benchmark by benchmark.

    Args:
        model: hash of each of its files; for a model on the Hub its name, with an empty hash.
        folders: the data of each benchmark.
        code: version of the code that records depend on.
    """
    common = {"model": model, "decoding": decoding(backbone, settings), "code": code}
    trials = []
    for name, benchmark in benchmarks.items():
        folder = folders[name]
        # Not what the Hub's client keeps in a hidden folder, with dates.
        shown = (path for path in sorted(folder.rglob("*")) if not path.relative_to(folder).as_posix().startswith("."))
        files = [path for path in shown if path.is_file()]
        data = {"benchmark": benchmark.model_dump(mode="json", exclude={"label"}), "files": hashes(files)}
        for number, seed in enumerate(settings.seeds, start=1):
            key = stable_hash({**common, **data, "seed": seed})
            place = work / name / f"seed-{seed}"
            trials.append(Trial(name, benchmark, folder, seed, number, len(settings.seeds), key, place))
    return trials
