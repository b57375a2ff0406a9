"""How far an experiment is, read from its files: the page of `egpo status`.

No running job is asked, and nothing is written. The files that exist are counted: work of other settings, which a job
would do again, counts until the job starts.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tabulate import tabulate

from egpo.cli.status.ended import Ended, ended_jobs, worker
from egpo.cli.status.progress import (
    MEASURED,
    MEASURED_MEANS,
    evaluation_columns,
    measured_columns,
    rollouts_columns,
    rows,
    steps_of,
    total_steps,
    training_columns,
)
from egpo.common.paths import Milestone, Model, Paths, wildcards_of
from egpo.common.stages import STAGES
from egpo.config.evaluation import Evaluation
from egpo.config.experiment import Catalogue
from egpo.config.matrix import (
    benchmarks_of,
    diagnosed_models,
    evaluated_milestones,
    evaluated_models,
    milestone_benchmarks,
    trained_models,
)
from egpo.training.measured import warning

WIDTH, NAME = 100, 38  # of the terminal and of a job's name, in characters
SHORT_NAME = 26  # in the table with the most columns
Table = dict[Model | Milestone, list[str]]


def _state(output: Path, failed: set[Path]) -> str:
    if output.exists():
        return "done"
    if worker(output.parent / "work"):
        return "running"
    if output in failed:
        return "failed"
    return "stopped" if (output.parent / "work").exists() else "waiting"


class _Reader:
    """The tables of an experiment, one model at a time."""

    def __init__(self, catalogue: Catalogue, failed: set[Path]) -> None:
        self.catalogue, self.experiment, self.failed = catalogue, catalogue.experiment, failed
        self.paths = Paths(self.experiment.experiment)

    def _job(self, rule: str, model: Model | Milestone) -> tuple[Path, Path, str]:
        """Folder, log and state of a job of a model or of a milestone."""
        wildcards = wildcards_of(model)
        output = self.paths.output(rule, **wildcards)
        return output.parent, self.paths.log(rule, **wildcards), _state(output, self.failed)

    def training(self, model: Model) -> list[str]:
        folder, _, state = self._job("train_model", model)
        training, train_file = self.experiment.of(model[0]).training, self.paths.output("data_pool", "train")
        return training_columns(folder, state, total_steps(training, self.experiment.data, train_file))

    def evaluation(self, model: Model) -> list[str]:
        evaluation = self.experiment.of(model[0]).evaluation
        return self._evaluation("evaluate_model", model, benchmarks_of(self.experiment, model[1]), evaluation)

    def milestone(self, milestone: Milestone) -> list[str]:
        evaluation = self.experiment.of(milestone[0]).evaluation.of_milestones
        names = milestone_benchmarks(self.experiment, milestone[1])
        return self._evaluation("evaluate_milestone", milestone, names, evaluation)

    def _evaluation(
        self, rule: str, model: Model | Milestone, names: Iterable[str], evaluation: Evaluation
    ) -> list[str]:
        folder, log, state = self._job(rule, model)
        questions = {name: self.catalogue.benchmarks[name].num_questions for name in names}
        return evaluation_columns(folder, log, state, questions, evaluation.seeds)

    def rollouts(self, model: Model) -> list[str]:
        assert self.experiment.uncertainty is not None, "no model is diagnosed without"
        folder, log, state = self._job("roll_out", model)
        problems = rows(self.paths.heldout, self.experiment.data.heldout_rows)
        return rollouts_columns(folder, log, state, -(-problems // self.experiment.uncertainty.problems_per_shard))


def _name(model: Model | Milestone, longest: int = NAME) -> str:
    """The end of a long name is what distinguishes it from others."""
    name = " ".join(map(str, model[:3])) + "".join(f" step {step}" for step in model[3:])
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def _table(title: str, rule: str, headers: list[str], table: Table) -> str:
    """headers: between that of the counts and the last two."""
    unit = (STAGES[rule].unit or "").capitalize()
    body = [[_name(model), *columns] for model, columns in table.items()]
    whole = [title, "State", unit, *headers, "Left", "Last sign"]
    align = ["left", "left", *["right"] * (len(whole) - 2)]
    return tabulate(body, whole, tablefmt="plain", colalign=align, disable_numparse=True)


def _causes(ended: list[Ended]) -> str:
    lines = ["Ended without a result:"]
    for one in ended:
        cause = textwrap.wrap(one.line, WIDTH - 4, max_lines=3, placeholder=" …")
        lines += [f"  {one.name}", *(f"    {part}" for part in [*cause, str(one.log)])]
    return "\n".join(lines)


def _metrics(models: Iterable[Model], paths: Paths) -> dict[Model, list[dict[str, Any]]]:
    """The lines of metrics of the trainings that have a step."""
    found = {}
    for model in models:
        folder = paths.training(*model)
        done = folder / "metrics.jsonl"
        lines = steps_of(done if done.exists() else folder / "work" / "metrics.jsonl")
        if any(line["step"] > 0 for line in lines):
            found[model] = lines
    return found


def _measured(metrics: dict[Model, list[dict[str, Any]]]) -> str:
    """What verl measured in each training."""
    if not metrics:
        return ""
    body = [[_name(model, SHORT_NAME), *measured_columns(lines)] for model, lines in metrics.items()]
    align = ["left", *["right"] * len(MEASURED)]
    table = tabulate(body, ["Measured", *MEASURED], tablefmt="plain", colalign=align, disable_numparse=True)
    return f"{table}\n{MEASURED_MEANS}"


def _apart(metrics: dict[Model, list[dict[str, Any]]]) -> str:
    """Trainings whose actor and vLLM are too far apart, or not compared."""
    lines = []
    for model, steps in metrics.items():
        if said := warning(steps):
            lines += [f"  {_name(model)}", *(f"    {part}" for part in textwrap.wrap(said, WIDTH - 4))]
    return "\n".join(["Warnings:", *lines]) if lines else ""


def _totals(trainings: Table, paths: Paths) -> str:
    states = Counter(columns[0] for columns in trainings.values())
    counted = [f"{states[state]} {state}" for state in ("done", "running", "waiting", "stopped", "failed")]
    return f"Trainings: {', '.join(counted)}. Logs: {paths.root / 'logs'}/"


def status(catalogue: Catalogue) -> str:
    """Trainings, evaluations, rollouts, and what ended without a result, as text for a terminal."""
    experiment, paths = catalogue.experiment, Paths(catalogue.experiment.experiment)
    ended = ended_jobs(paths, catalogue)
    read = _Reader(catalogue, {one.output for one in ended})
    trainings: Table = {model: read.training(model) for model in trained_models(experiment)}
    evaluations: Table = {
        **{model: read.evaluation(model) for model in evaluated_models(experiment)},
        **{milestone: read.milestone(milestone) for milestone in evaluated_milestones(experiment)},
    }
    rollouts: Table = {model: read.rollouts(model) for model in diagnosed_models(experiment)}
    metrics = _metrics(trained_models(experiment), paths)
    driver = worker(paths.root / "driver")
    parts = [
        f"{paths.root}: " + (f"run by {driver}" if driver else "no Snakemake is running it"),
        _table("Training", "train_model", ["Reward", "s/step"], trainings),
        _table("Evaluation", "evaluate_model", ["Trials"], evaluations),
        _table("Rollouts", "roll_out", [], rollouts) if rollouts else "",
        _measured(metrics),
        _apart(metrics),
        _causes(ended) if ended else "",
        _totals(trainings, paths),
    ]
    return "\n\n".join(filter(None, parts))
