"""Where everything of an experiment lies. No path is put together anywhere else.

Models are named `<backbone>/<method>/seed-<training seed>`; the untrained backbone is the method
"base" with seed 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]  # the repository

BASE, BASE_SEED = "base", 0


@dataclass(frozen=True)
class Paths:
    """The folders and files of one experiment; `{...}` stay as Snakemake's wildcards where none is given."""

    experiment: str

    @property
    def root(self) -> Path:
        return Path("results") / self.experiment

    def log(self, *parts: str) -> Path:
        return self.root.joinpath("logs", *parts).with_suffix(".log")

    # data
    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def heldout(self) -> Path:
        return self.data / "heldout.parquet"

    # backbones
    def backbone(self, backbone: str = "{backbone}") -> Path:
        return self.root / "backbones" / backbone

    def tokenizer(self, backbone: str = "{backbone}") -> Path:
        return self.backbone(backbone) / "tokenizer"

    def benchmark(self, benchmark: str = "{benchmark}") -> Path:
        return self.root / "benchmarks" / benchmark

    def questions(self, benchmark: str = "{benchmark}") -> Path:
        """Beside the benchmark's folder: evalscope reads whatever lies in it."""
        return self.root / "benchmarks" / f"{benchmark}.questions.jsonl"

    # training and evaluation, one folder per model
    def training(self, backbone: str = "{backbone}", method: str = "{method}", seed: str | int = "{seed}") -> Path:
        return self.root / "train" / backbone / method / f"seed-{seed}"

    def evaluation(self, backbone: str = "{backbone}", method: str = "{method}", seed: str | int = "{seed}") -> Path:
        return self.root / "evaluate" / backbone / method / f"seed-{seed}"

    def rollouts(self, backbone: str = "{backbone}", method: str = "{method}", seed: str | int = "{seed}") -> Path:
        return self.root / "uncertainty" / backbone / method / f"seed-{seed}"

    # verl's settings, written out before any training
    @property
    def settings(self) -> Path:
        return self.root / "settings"

    # report
    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    @property
    def report(self) -> Path:
        return self.root / "report.html"
