"""The report: one self-contained HTML file with everything that the experiment found, and where it comes from."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment
from markdown import markdown as to_html

from egpo.analysis.measured import Model, label, note
from egpo.common.files import read_json, sha256, write_text
from egpo.common.paths import BASE, Paths
from egpo.config.experiment import Catalogue
from egpo.report.figures.learning_curve import quarter

FIGURES = {
    "funnel": "Rows left after each step of the data stage that drops any.",
    "learning_curve": "Mean reward of the rollouts by training step.",
    "method": "The method, drawn by its own functions (Figures 1 and 2 of the paper).",
    "entropy_density": "Response entropy of correct and incorrect responses (Figure 3).",
    "entropy_roc": "Entropy as a predictor of incorrect responses (Figure 5).",
    "entropy_parts": "Entropies of thoughts and answers (Figures 6 and 8).",
    "entropy_length": "Length against entropy (Figures 7 and 9).",
}
# What to watch at a training, of docs/methods.md; last quarter of the steps.
METRICS = {
    "egpo/groups/mixed": "mixed groups",
    "egpo/groups/entirely_correct": "entirely correct",
    "egpo/groups/entirely_incorrect": "entirely incorrect",
    "egpo/weight/correct/mean": "weight, correct",
    "egpo/weight/incorrect/mean": "weight, incorrect",
    "egpo/entropy/gap": "entropy gap",
    "egpo/nsr_share": "NSR's share",
}


@dataclass
class Section:
    """A part of the page. name: its anchor; parts: HTML."""

    name: str
    title: str
    parts: list[str] = field(default_factory=list)


def html(text: str) -> str:
    """Markdown as HTML, its title left out, tables in boxes that scroll on a small screen."""
    body = re.sub(r"\A# .*\n", "", text)
    made = to_html(
        body, extensions=["tables", "fenced_code", "md_in_html", "toc"], extension_configs={"toc": {"baselevel": 2}}
    )
    return made.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")


def page(file: Path, folded: bool = False) -> str:
    """A Markdown file of the tables; folded: behind its title."""
    text = file.read_text()
    title = text.split("\n", 1)[0].removeprefix("# ")
    if folded:
        return f"<details><summary>{escape(title)}</summary>{html(text)}</details>"
    return f"<h3>{escape(title)}</h3>{html(text)}"


def figure(file: Path) -> str:
    """A PNG inside of the page, at half of its pixels: all figures have the same size of type then."""
    data = file.read_bytes()
    width = int.from_bytes(data[16:20]) // 2  # of the PNG's header
    caption = escape(FIGURES[file.stem])
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return (
        f'<figure><div class="wide"><img alt="{caption}" width="{width}" src="{source}"></div><figcaption>{caption} '
        f"Also as <code>{file.with_suffix('.pdf')}</code>.</figcaption></figure>"
    )


def frame(table: pd.DataFrame) -> str:
    return f'<div class="wide">{table.to_html(index=False, border=0, na_rep="", float_format="{:.3f}".format)}</div>'


def what_was_run(catalogue: Catalogue) -> str:
    """The experiment in a table."""
    experiment = catalogue.experiment
    training, evaluation = experiment.training, experiment.evaluation
    budget = (
        f"{training.total_training_steps} steps" if training.total_training_steps else f"{training.total_epochs} epochs"
    )
    rows = {
        "Models": ", ".join(catalogue.backbones[name].label for name in experiment.backbones),
        "Methods": ", ".join(catalogue.methods[name].label for name in experiment.methods),
        "Training": f"{budget} of {training.train_batch_size} prompts with {training.rollouts_per_prompt} rollouts, "
        f"learning rate {training.learning_rate:g}, seeds "
        f"{', '.join(map(str, experiment.training_seeds))}, on {training.platform}",
        "Data": f"{experiment.data.source.kind}, {experiment.data.quotas.total} rows sampled, "
        f"{experiment.data.validation_rows} of them to validate, {experiment.data.heldout_rows} more held out",
        "Benchmarks": ", ".join(
            f"{catalogue.benchmarks[name].label} ({catalogue.benchmarks[name].num_questions})"
            for name in experiment.benchmarks
        ),
        "Trials": f"{len(evaluation.seeds)} per question, temperature {evaluation.temperature}, top-p "
        f"{evaluation.top_p}, top-k {evaluation.top_k}",
    }
    if experiment.ablations is not None:
        ablated = ", ".join(catalogue.methods[name].label for name in experiment.ablations.methods)
        rows["Ablations"] = f"{ablated}; on {catalogue.backbones[experiment.ablations.backbone].label}"
    lines = "".join(f"<tr><th>{name}</th><td>{escape(text)}</td></tr>" for name, text in rows.items())
    return f'<div class="wide"><table>{lines}</table></div>'


def step_metrics(catalogue: Catalogue, metrics: dict[Model, Path]) -> str:
    """What each training's calibration did, on average over the last quarter of its steps."""
    rows = []
    for (backbone, method, seed), file in metrics.items():
        table = pd.read_json(file, lines=True).query("step > 0")
        last = table.tail(quarter(table["step"]))
        known = {text: last[name].mean() if name in last else float("nan") for name, text in METRICS.items()}
        rows.append({"model": label(catalogue, backbone, method), "seed": seed, **known})
    text = "Means over the last quarter of the steps; shares are of groups, of weights see docs/methods.md."
    return f"<p>{text}</p>{frame(pd.DataFrame(rows))}"


def _manifests(paths: Paths, model: Model, uncertainty: bool) -> dict[str, Path]:
    backbone, method, seed = model
    found = {} if method == BASE else {"training": paths.training(*model) / "manifest.json"}
    found["evaluation"] = paths.evaluation(backbone, method, seed) / "manifest.json"
    if uncertainty:
        found["rollouts"] = paths.rollouts(backbone, method, seed) / "manifest.json"
    return found


def lineage(catalogue: Catalogue, paths: Paths, models: list[Model], diagnosed: list[Model]) -> str:
    """Per stage and model: hashes of settings, code and results, and where the whole story is."""
    rows = [_origin("data", "", paths.data / "manifest.json", paths.data / "train.parquet")]
    for model in models:
        for stage, manifest in _manifests(paths, model, model in diagnosed).items():
            result = {"training": "metrics.jsonl", "evaluation": "records.parquet", "rollouts": "rollouts.parquet"}
            name = f"{label(catalogue, model[0], model[1])}, seed {model[2]}"
            rows.append(_origin(stage, name, manifest, manifest.parent / result[stage]))
    text = (
        "Beside every result lies its <code>manifest.json</code>: all settings, package versions, hashes of what it "
        "was made from. The hashes of settings and code below are the manifest's; that of the result, the first 12 "
        "digits of its SHA-256, is of the file as it was read here."
    )
    return f"<p>{text}</p>{frame(pd.DataFrame(rows))}"


def _origin(stage: str, model: str, manifest: Path, result: Path) -> dict[str, Any]:
    values = read_json(manifest)
    return {
        "stage": stage,
        "model": model,
        "settings": values["settings_hash"],
        "code": values["code"],
        "result": str(result),
        "sha256": sha256(result)[:12],
    }


def follow(catalogue: Catalogue, paths: Paths, models: list[Model], diagnosed: list[Model]) -> str:
    """Commands that compute a number of each kind again from its records, with what they must print."""
    model = models[-1]
    benchmark = catalogue.experiment.benchmarks[0]
    if model[1] not in catalogue.experiment.methods:  # one of Table 2's
        model = next(one for one in models if one[1] in catalogue.experiment.methods)
    steps = []
    records = paths.evaluation(*model) / "records.parquet"
    table = pd.read_parquet(records, columns=["benchmark", "correct"])
    value = 100 * table[table["benchmark"] == benchmark]["correct"].mean()
    name = label(catalogue, model[0], model[1])
    code = f"r = p.read_parquet('{records}'); print(100 * r[r.benchmark == '{benchmark}'].correct.mean())"
    seed = "" if len(catalogue.experiment.training_seeds) == 1 else f", training seed {model[2]} of it"
    steps.append((f"Table 1: {name} on {catalogue.benchmarks[benchmark].label}{seed}", code, f"{value:.6g}"))
    if diagnosed:
        model = diagnosed[-1]
        measures = paths.rollouts(*model) / "measures.parquet"
        means = pd.read_parquet(measures).groupby("correct")["response"].mean()
        code = f"r = p.read_parquet('{measures}'); print(r.groupby('correct').response.mean())"
        found = ", ".join(f"{'correct' if kind else 'incorrect'} {mean:.6f}" for kind, mean in means.items())
        steps.append((f"Figure 3: mean entropies of {label(catalogue, model[0], model[1])}", code, found))
    flags = pd.read_parquet(paths.data / "flags.parquet", columns=["reason"])
    code = f"print((p.read_parquet('{paths.data / 'flags.parquet'}').reason == '').sum())"
    steps.append(("Data: rows of the pool", code, str(int((flags["reason"] == "").sum()))))
    parts = [
        f'<h4>{escape(title)}</h4><pre>.venv/bin/python -c "import pandas as p; {escape(command)}"</pre>'
        f"<p>prints {escape(result)}</p>"
        for title, command, result in steps
    ]
    return "<h3>Follow a number</h3><p>From the folder of the repository:</p>" + "".join(parts)


def sections(
    catalogue: Catalogue, paths: Paths, models: list[Model], diagnosed: list[Model], files: list[Path]
) -> list[Section]:
    """The parts of the page, from the files that the other rules have written: tables as .md, figures as .png."""
    by_name = {file.name: file for file in files}

    def pages(*names: str, folded: bool = False) -> list[str]:
        return [page(by_name[f"{name}.md"], folded) for name in names if f"{name}.md" in by_name]

    def figures(*names: str) -> list[str]:
        return [figure(by_name[f"{name}.png"]) for name in names if f"{name}.png" in by_name]

    metrics = {model: paths.training(*model) / "metrics.jsonl" for model in models if model[1] != BASE}
    entropy = ("entropy_density", "entropy_roc", "entropy_parts", "entropy_length")
    made = [
        Section("run", "What was run", [what_was_run(catalogue), *figures("method")]),
        Section("data", "Data", [*figures("funnel"), *pages("funnel", folded=True)]),
        Section("training", "Training", [*figures("learning_curve"), step_metrics(catalogue, metrics)]),
        Section(
            "results",
            "Results",
            [*pages("table1", "table2", "comparisons"), *pages("answers", "second_opinion", folded=True)],
        ),
        Section("entropy", "Entropy", [*pages("table3"), *figures(*entropy), *pages("case_study", folded=True)]),
        Section("claims", "Claims", pages("claims")),
        Section("audit", "Audit of the paper", pages("audit")),
        Section(
            "lineage",
            "Lineage",
            [lineage(catalogue, paths, models, diagnosed), follow(catalogue, paths, models, diagnosed)],
        ),
    ]
    return [one for one in made if one.parts]


def write_report(
    catalogue: Catalogue, models: list[Model], diagnosed: list[Model], files: list[Path], template: Path, out: Path
) -> None:
    """Write the report. models: of Tables 1 and 2; diagnosed: those with rollouts; files: tables and figures."""
    environment = Environment(autoescape=False, trim_blocks=True, lstrip_blocks=True)  # the parts are HTML already
    name = catalogue.experiment.experiment
    text = environment.from_string(template.read_text()).render(
        title=f"EGPO: experiment {escape(name)}",
        note=escape(note(catalogue)),
        sections=sections(catalogue, Paths(name), models, diagnosed, files),
    )
    write_text(out, text)
