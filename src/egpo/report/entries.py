"""The list of tables, figures and the report: what each is made from, by which code. Rules and commands read it.

A new table or figure is an entry here and a function that writes it. The function gets the entry's settings and files
by name, and the folder to write into:

    def write_something(catalogue: Catalogue, records: dict[Model, Path], paper: Path, out: Path) -> None:

A module of a table or figure must not import this one: an edit here would count as an edit of its code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from egpo.common.paths import ROOT, Model, Paths, wildcards_of
from egpo.common.stages import STAGES
from egpo.config.experiment import Catalogue
from egpo.config.matrix import (
    diagnosed_models,
    evaluated_milestones,
    evaluated_models,
    table1_models,
    table2_models,
    trained_models,
)
from egpo.config.methods import Method

Files = Path | dict[Any, Path]  # one file, or several by model, name, or (rule, model)


@dataclass(frozen=True)
class Entry:
    """A table, a figure or the report.

    Attributes:
        function: of egpo.report, with its module.
        outputs: names of the files.
        inputs: keys of INPUTS.
        settings: keys of SETTINGS.
        thinking: further outputs, where a model thinks.
        needs: a section of the experiment, a backbone with a warm-up, or milestones of trainings; without it the entry
            is not made.
        local: runs on the machine of Snakemake, not as a job of a cluster.
    """

    name: str
    function: str
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    settings: tuple[str, ...] = ("catalogue",)
    thinking: tuple[str, ...] = ()
    needs: Literal["ablations", "uncertainty", "warm_up", "milestones"] | None = None
    memory_mb: int = 8000
    minutes: int = 30
    local: bool = False

    @property
    def title(self) -> str:
        """What progress calls it."""
        return self.name.replace("_", " ")

    @property
    def kind(self) -> str:
        """The room of its function: "tables", "figures" or "page"."""
        return self.function.split(".")[0]

    @property
    def captions(self) -> dict[str, str]:
        """Of its files, by their names without suffix."""
        return {stem: CAPTIONS[stem] for stem in (name.split(".")[0] for name in (*self.outputs, *self.thinking))}

    @property
    def code(self) -> str:
        """The module whose code, with all that it imports, decides the outputs (egpo.common.provenance)."""
        return f"report/{self.function.rpartition('.')[0].replace('.', '/')}.py"

    def folder(self, paths: Paths) -> Path:
        return {"tables": paths.tables, "figures": paths.figures, "page": paths.root}[self.kind]

    def files(self, catalogue: Catalogue, paths: Paths) -> list[Path]:
        """Its outputs in an experiment."""
        thinks = any(catalogue.backbones[model[0]].thinks for model in table1_models(catalogue.experiment))
        return [self.folder(paths) / name for name in (*self.outputs, *(self.thinking if thinks else ()))]

    def log(self, paths: Paths) -> Path:
        return paths.root / "logs" / "report" / f"{self.name}.log"

    def usage(self, paths: Paths) -> Path:
        """Snakemake's `benchmark` file: its seconds and its memory."""
        return paths.root / "usage" / "report" / f"{self.name}.tsv"

    def input_files(self, catalogue: Catalogue, paths: Paths) -> dict[str, Files]:
        """Everything that it reads."""
        return {name: INPUTS[name](catalogue, paths) for name in self.inputs}

    def given(self, catalogue: Catalogue) -> dict[str, Any]:
        """Its settings as plain values, which Snakemake compares with those of the last run."""
        return {name: SETTINGS[name](catalogue) for name in self.settings}

    def write(self, given: dict[str, Any], files: dict[str, Files], out: Path) -> None:
        """Make it. given: its settings, as `given` returns them."""
        module, _, name = self.function.rpartition(".")
        settings = {key: MODELS[key].model_validate(value) if key in MODELS else value for key, value in given.items()}
        getattr(import_module(f"egpo.report.{module}"), name)(**settings, **files, out=out)


def _names(stem: str, *suffixes: str) -> tuple[str, ...]:
    return tuple(f"{stem}.{suffix}" for suffix in suffixes)


TABLE, PAGE, FIGURE = ("md", "csv", "tex"), ("md", "csv"), ("png", "pdf")
LONG: dict[str, Any] = {"minutes": 60}
SHORT: dict[str, Any] = {"memory_mb": 4000, "minutes": 15, "local": True}
DIAGNOSIS: dict[str, Any] = {"needs": "uncertainty", **LONG}
_ALL = (
    Entry("table1", "tables.accuracy.write_table1", _names("table1", *TABLE), ("records", "references", "paper")),
    Entry(
        "table2",
        "tables.accuracy.write_table2",
        _names("table2", *TABLE),
        ("ablated", "references", "paper"),
        needs="ablations",
    ),
    Entry("warm_up", "tables.warm_up.write_warm_up", ("warm_up.md",), ("warm_ups",), needs="warm_up", **SHORT),
    Entry("ceilings", "tables.ceilings.write_ceilings", _names("ceilings", *PAGE), ("references",), **SHORT),
    Entry("comparisons", "tables.comparisons.write_comparisons", _names("comparisons", *PAGE), ("records", "ablated")),
    Entry(
        "answers",
        "tables.answers.write_answers",
        (*_names("answers", *PAGE), "second_opinion.md"),
        ("records",),
        **LONG,
    ),
    Entry("audit", "tables.audit.write_audit", _names("audit", *PAGE), ("paper",), settings=(), **SHORT),
    Entry(
        "claims",
        "tables.claims.write_claims",
        _names("claims", *PAGE),
        ("comparisons", "measures", "paper", "plan"),
        **LONG,
    ),
    Entry("table3", "tables.entropy.write_entropy_table", _names("table3", *TABLE), ("measures", "paper"), **DIAGNOSIS),
    Entry(
        "case_study", "tables.case_study.write_case_study", ("case_study.md",), ("rollouts", "problems"), **DIAGNOSIS
    ),
    Entry(
        "learning_curve",
        "figures.learning_curve.learning_curve",
        _names("learning_curve", *FIGURE, "csv"),
        ("metrics",),
        **SHORT,
    ),
    Entry("learned", "tables.learned.write_learned", _names("learned", *PAGE), ("trained",), **SHORT),
    Entry(
        "accuracy_by_step",
        "tables.accuracy_by_step.write_accuracy_by_step",
        _names("accuracy_by_step", *PAGE),
        ("records", "ablated", "milestones", "metrics"),
        needs="milestones",
    ),
    Entry(
        "accuracy_by_step_figure",
        "figures.accuracy_by_step.accuracy_by_step_figure",
        _names("accuracy_by_step", *FIGURE),
        ("by_step",),
        needs="milestones",
        **SHORT,
    ),
    Entry("measured", "tables.measured.write_measured", _names("measured", *PAGE), ("metrics",), **SHORT),
    Entry("accuracy_figure", "figures.overview.accuracy_figure", _names("accuracy", *FIGURE), ("table1",), **SHORT),
    Entry(
        "forest_figure",
        "figures.overview.forest_figure",
        _names("forest", *FIGURE),
        ("comparisons", "table1"),
        **SHORT,
    ),
    Entry("replay", "tables.replay.write_replay", _names("replay", *PAGE), ("responses",), **LONG),
    Entry("replay_figure", "figures.replay.replay_figure", _names("replay", *FIGURE), ("replayed",), **SHORT),
    Entry("funnel_figure", "figures.funnel.funnel_figure", _names("funnel", *FIGURE), ("funnel",), ("note",), **SHORT),
    Entry(
        "method_figure",
        "figures.method.method_figure",
        _names("method", *FIGURE),
        (),
        ("method", "rollouts_per_prompt"),
        **SHORT,
    ),
    Entry(
        "entropy_figures",
        "figures.entropy.write_entropy_figures",
        tuple(f"entropy_{name}.{suffix}" for name in ("density", "roc", "length") for suffix in FIGURE),
        ("measures",),
        thinking=_names("entropy_parts", *FIGURE),
        needs="uncertainty",
    ),
    Entry(
        "report",
        "page.write_report",
        ("report.html",),
        ("template", "pages", "manifests", "results", "measures", "flags", "comparisons"),
        ("catalogue", "captions"),
        memory_mb=4000,
        local=True,
    ),
)
ENTRIES = {entry.name: entry for entry in _ALL}
CAPTIONS = {
    "table1": "Accuracy of every backbone alone and with each method (Table 1).",
    "table2": "Accuracy of the ablations (Table 2).",
    "warm_up": "What the backbones solve before and after their warm-up, with responses.",
    "ceilings": "What the benchmarks' reference answers score themselves, and those of other questions.",
    "comparisons": "Paired differences between models, with intervals and corrected p-values.",
    "answers": "pass@k, majority@k, lengths, and what was cut off or not scored.",
    "second_opinion": "Where evalscope's scores and the training's verifier disagree.",
    "audit": "What follows from the numbers that the paper prints, and what does not.",
    "claims": "The paper's claims, tested on the records of this experiment.",
    "table3": "Entropy as a predictor of incorrect responses (Table 3).",
    "case_study": "The problem that training changed most, with a response of each model (Figure 4).",
    "learning_curve": "Mean reward of the rollouts by training step.",
    "learned": "Problems that came more than once: right at the first and at the last time.",
    "accuracy_by_step": "Accuracy by training step, with intervals.",
    "measured": "Time, memory, and how far actor and vLLM were apart, by training.",
    "accuracy": "Accuracy by benchmark and method, with intervals.",
    "forest": "What the main method is above each other one, with intervals.",
    "replay": "Every method on the responses that the main method's training has visited.",
    "funnel": "Rows left after each step of the data stage that drops any.",
    "method": "The method, drawn by its own functions (Figures 1 and 2 of the paper).",
    "entropy_density": "Response entropy of correct and incorrect responses (Figure 3).",
    "entropy_roc": "Entropy as a predictor of incorrect responses (Figure 5).",
    "entropy_parts": "Entropies of thoughts and answers (Figures 6 and 8).",
    "entropy_length": "Length against entropy (Figures 7 and 9).",
    "report": "Everything in one page.",
}


def entries_of(catalogue: Catalogue, *kinds: str) -> list[Entry]:
    """The entries that an experiment has; kinds: only of these."""
    return [
        entry
        for entry in ENTRIES.values()
        if (not kinds or entry.kind in kinds) and (entry.needs is None or _has(catalogue, entry.needs))
    ]


def _warmed(catalogue: Catalogue) -> list[str]:
    """The backbones with a warm-up on worked examples."""
    return [name for name in catalogue.experiment.backbones if catalogue.backbones[name].warm_up is not None]


def _has(catalogue: Catalogue, what: str) -> bool:
    if what == "warm_up":
        return bool(_warmed(catalogue))
    if what == "milestones":
        return bool(evaluated_milestones(catalogue.experiment))
    return getattr(catalogue.experiment, what) is not None


# --- what entries are made from ---------------------------------------------------------------------


def _of_models(
    rule: str, name: str, models: Callable[[Any], Iterable[Model]]
) -> Callable[[Catalogue, Paths], dict[Model, Path]]:
    """An output of a stage for each of some models."""
    return lambda catalogue, paths: {model: _output(paths, rule, name, model) for model in models(catalogue.experiment)}


def _output(paths: Paths, rule: str, name: str | None, model: Model | None) -> Path:
    return paths.output(rule, name, **(wildcards_of(model) if model else {}))


def _lineage(catalogue: Catalogue) -> list[tuple[str, Model | None]]:
    """(rule, model) of every job in the report's lineage; the data have no model."""
    models = evaluated_models(catalogue.experiment)
    made_by = {
        "train_model": trained_models(catalogue.experiment),
        "evaluate_model": models,
        "roll_out": diagnosed_models(catalogue.experiment),
    }
    return [("data_pool", None), *((rule, model) for model in models for rule in made_by if model in made_by[rule])]


def _pages(catalogue: Catalogue, paths: Paths) -> dict[str, Path]:
    """The tables in Markdown and the figures as PNG, by file name."""
    made = [file for entry in entries_of(catalogue, "tables", "figures") for file in entry.files(catalogue, paths)]
    files = [paths.output("data_card", "table"), *made]
    return {file.name: file for file in files if file.suffix in (".md", ".png")}


INPUTS: dict[str, Callable[[Catalogue, Paths], Files]] = {
    "paper": lambda catalogue, paths: Path("config/paper-numbers.yaml"),
    "plan": lambda catalogue, paths: (
        {catalogue.experiment.claims: ROOT / catalogue.experiment.claims} if catalogue.experiment.claims else {}
    ),
    "template": lambda catalogue, paths: Path("workflow/report/page.html"),
    "records": _of_models("evaluate_model", "records", table1_models),
    "ablated": _of_models("evaluate_model", "records", table2_models),
    "references": lambda catalogue, paths: paths.output("score_references"),
    "warm_ups": lambda catalogue, paths: {
        name: paths.output("backbone_teach", "manifest", backbone=name) for name in _warmed(catalogue)
    },
    "metrics": _of_models("train_model", "metrics", trained_models),
    "responses": lambda catalogue, paths: {
        model: _output(paths, "train_model", "responses", model)
        for model in trained_models(catalogue.experiment)
        if model[1] == catalogue.experiment.main_method
    },
    "trained": _of_models("train_model", "responses", trained_models),
    "milestones": lambda catalogue, paths: {
        milestone: paths.output("evaluate_milestone", "records", **wildcards_of(milestone))
        for milestone in evaluated_milestones(catalogue.experiment)
    },
    "by_step": lambda catalogue, paths: paths.tables / "accuracy_by_step.csv",
    "replayed": lambda catalogue, paths: paths.tables / "replay.csv",
    "rollouts": _of_models("roll_out", "rollouts", diagnosed_models),
    "measures": _of_models("measure_rollouts", "measures", diagnosed_models),
    "problems": lambda catalogue, paths: paths.heldout,
    "flags": lambda catalogue, paths: paths.output("data_pool", "flags"),
    "funnel": lambda catalogue, paths: paths.output("data_card", "funnel"),
    "comparisons": lambda catalogue, paths: paths.tables / "comparisons.csv",
    "table1": lambda catalogue, paths: paths.tables / "table1.csv",
    "pages": _pages,
    "manifests": lambda catalogue, paths: {
        job: _output(paths, job[0], "manifest", job[1]) for job in _lineage(catalogue)
    },
    "results": lambda catalogue, paths: {
        job: _output(paths, job[0], STAGES[job[0]].result, job[1]) for job in _lineage(catalogue)
    },
}

# Without what changes no result: the jobs' hours and memory.
SETTINGS: dict[str, Callable[[Catalogue], Any]] = {
    "catalogue": lambda catalogue: catalogue.model_dump(mode="json", exclude={"experiment": {"jobs", "trackers"}}),
    "method": lambda catalogue: catalogue.methods[catalogue.experiment.main_method].model_dump(mode="json"),
    "rollouts_per_prompt": lambda catalogue: catalogue.experiment.training.rollouts_per_prompt,
    "note": lambda catalogue: catalogue.experiment.note,
    "captions": lambda catalogue: CAPTIONS,
}
MODELS: dict[str, Any] = {"catalogue": Catalogue, "method": Method}  # settings that are more than plain values
