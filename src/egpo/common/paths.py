"""Where everything of an experiment lies. No path is put together anywhere else.

Models are named `<backbone>/<method>/seed-<training seed>`; the untrained backbone is the method `base` with seed 0.
A model that a training keeps on its way is that name and `step-<step>`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from egpo.common.stages import STAGES

ROOT = Path(__file__).resolve().parents[3]  # the repository
BASE, BASE_SEED = "base", 0
Model = tuple[str, str, int]  # backbone, method, training seed
Milestone = tuple[str, str, int, int]  # a model on the way of a training: backbone, method, training seed, step
WILDCARDS = {name: f"{{{name}}}" for name in ("backbone", "method", "seed", "step", "benchmark")}


def milestone_folder(training: Path, step: int | str) -> Path:
    """The model that a training has kept after a step, in the training's folder."""
    return training / "milestones" / f"step-{step}"


def wildcards_of(model: Model | Milestone) -> dict[str, str]:
    """The wildcards of the jobs of a model or of a milestone."""
    return dict(zip(("backbone", "method", "seed", "step"), map(str, model), strict=False))


@dataclass(frozen=True)
class Paths:
    """The folders and files of one experiment, from the repository; `{...}` stay as Snakemake's wildcards."""

    experiment: str

    @property
    def root(self) -> Path:
        return Path("results") / self.experiment

    # --- by stage (egpo.common.stages) ---------------------------------------------------------------

    def folder(self, rule: str, **wildcards: str | int) -> Path:
        """The folder of a job of the stage `rule`."""
        return self.root / STAGES[rule].folder.format(**WILDCARDS | wildcards)

    def output(self, rule: str, name: str | None = None, **wildcards: str | int) -> Path:
        """An output of a stage by its name; without one the output that is written last."""
        outputs = STAGES[rule].outputs
        file = outputs[name or next(iter(outputs))]
        return self.folder(rule, **wildcards) / file.format(**WILDCARDS | wildcards)

    def outputs(self, rule: str) -> dict[str, Path]:
        """Every output of a stage by its name, the one that is written last first."""
        return {name: self.output(rule, name) for name in STAGES[rule].outputs}

    def log(self, rule: str, **wildcards: str | int) -> Path:
        return self.root / "logs" / f"{STAGES[rule].log.format(**WILDCARDS | wildcards)}.log"

    def usage(self, rule: str, **wildcards: str | int) -> Path:
        """Snakemake's `benchmark` file of a job: its seconds and its memory."""
        return self.root / "usage" / f"{STAGES[rule].log.format(**WILDCARDS | wildcards)}.tsv"

    # --- what several stages read --------------------------------------------------------------------

    @property
    def source(self) -> Path:
        return self.folder("data_source")

    @property
    def data(self) -> Path:
        return self.folder("data_pool")

    @property
    def heldout(self) -> Path:
        return self.data / "heldout.parquet"

    def backbone(self, backbone: str = "{backbone}") -> Path:
        return self.folder("backbone_fetch", backbone=backbone)

    def warm(self, backbone: str = "{backbone}") -> Path:
        """Folder of a backbone after its warm-up on worked examples."""
        return self.folder("backbone_teach", backbone=backbone)

    def tokenizer(self, backbone: str = "{backbone}") -> Path:
        return self.folder("backbone_tokenizer", backbone=backbone)

    def benchmark(self, benchmark: str) -> Path:
        """Folder of a benchmark that is made here, whose README.md is written last, or fetched."""
        return self.folder("benchmark_make") / benchmark

    def questions(self, benchmark: str) -> Path:
        # Beside the benchmark's folder: evalscope reads everything in it.
        return self.folder("benchmark_questions") / f"{benchmark}.questions.jsonl"

    def training(self, backbone: str = "{backbone}", method: str = "{method}", seed: str | int = "{seed}") -> Path:
        return self.folder("train_model", backbone=backbone, method=method, seed=seed)

    def milestone(self, step: str | int = "{step}", **model: str) -> Path:
        """A model on the way of a training; `<folder>.json` beside it says that the training is done."""
        return milestone_folder(self.folder("train_model", **model), step)

    def milestone_mark(self, step: str | int = "{step}", **model: str) -> Path:
        return self.milestone(step, **model).with_suffix(".json")

    def evaluation(self, backbone: str = "{backbone}", method: str = "{method}", seed: str | int = "{seed}") -> Path:
        return self.folder("evaluate_model", backbone=backbone, method=method, seed=seed)

    def rollouts(self, backbone: str = "{backbone}", method: str = "{method}", seed: str | int = "{seed}") -> Path:
        return self.folder("roll_out", backbone=backbone, method=method, seed=seed)

    @property
    def settings(self) -> Path:
        """verl's settings, written out before any training."""
        return self.folder("verl_settings")

    @property
    def trackers(self) -> Path:
        """What trackers store of all trainings (`trackers`)."""
        return self.root / "trackers"

    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    @property
    def report(self) -> Path:
        return self.root / "report.html"
