"""A model card in the Hub's format: how a model was trained, what it scored, and what it must not be taken for."""

from __future__ import annotations

from pathlib import Path

import yaml
from huggingface_hub import EvalResult, ModelCardData

from egpo.analysis.answers import Answers, read_answers
from egpo.analysis.labels import label, note
from egpo.analysis.statistics import accuracy, interval
from egpo.common.paths import Model
from egpo.config.backbones import HubModel, SyntheticModel
from egpo.config.experiment import Catalogue
from egpo.config.matrix import benchmarks_of
from egpo.report.document import document, markdown_table

NOT_FOR = (
    "It was trained to give answers that a rule can check, on problems of mathematics. It was not tested for "
    "anything else, not for safety, and not for advice that someone relies on. Its accuracies are of the benchmarks, "
    "prompts and decoding named here."
)


def _scores(answers: list[Answers], catalogue: Catalogue) -> tuple[list[list[str]], list[EvalResult]]:
    rows, results = [], []
    for one in answers:
        name, value = catalogue.benchmarks[one.benchmark].label, 100 * accuracy(one.correct)
        low, high = (100 * bound for bound in interval(one.correct))
        bounds = "" if low != low else f"[{low:.1f}, {high:.1f}]"  # nan where nothing varies
        _, questions, trials = one.correct.shape
        rows.append([name, f"{value:.2f}", bounds, str(questions), str(trials)])
        results.append(
            EvalResult("text-generation", one.benchmark, name, "accuracy", round(value, 2), metric_name="pass@1")
        )
    return rows, results


def model_card(catalogue: Catalogue, model: Model, records: Path, verl: Path) -> str:
    """The text of the card of a trained model.

    Args:
        records: records.parquet of its evaluation.
        verl: verl.yaml of its training.
    """
    backbone, method, seed = model
    experiment, source = catalogue.experiment, catalogue.backbones[backbone].source
    found = read_answers(catalogue, {model: records}, benchmarks_of(experiment, method))
    rows, results = _scores(list(found.values()), catalogue)
    title = label(catalogue, backbone, method)
    made_up = isinstance(source, SyntheticModel)
    front = ModelCardData(
        language="en",
        base_model=source.repo if isinstance(source, HubModel) else None,
        tags=["math", "reinforcement-learning", "verl", method, *(["synthetic"] if made_up else [])],
        model_name=title,
        eval_results=results,
    ).to_yaml()
    training = experiment.of(backbone).training.model_dump(mode="json", exclude_none=True)
    lines = [
        f"---\n{front}\n---",
        f"# {title}, training seed {seed}",
        "",
        "A tiny model, made and taught here, on synthetic problems."
        if made_up
        else f"From {source.kind}: `{_place(source)}`.",
        "",
        f"Trained by verl with the method `{method}` ({catalogue.methods[method].label}); every setting is in "
        f"`{verl.name}` beside the results.",
        "",
        "```yaml",
        yaml.safe_dump({"method": catalogue.methods[method].model_dump(mode="json"), "training": training}).strip(),
        "```",
        "",
        "## Scores",
        "",
        "Accuracy in percent, mean pass@1; in brackets 95% intervals over questions. They are of this model, not of "
        f"the method: another training seed gives another model. Verdicts: {experiment.scored_by}.",
        "",
        *markdown_table(["Benchmark", "accuracy", "interval", "questions", "trials"], rows),
        "",
        "## What it must not be taken for",
        "",
        NOT_FOR,
    ]
    return document(lines, note(catalogue))


def _place(source: object) -> str:
    return str(getattr(source, "repo", None) or getattr(source, "path", ""))
