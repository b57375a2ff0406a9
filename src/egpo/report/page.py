"""The report: one self-contained HTML file with the results of the experiment and their lineage."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd
from jinja2 import Environment
from markdown import markdown as to_html

from egpo.analysis.answers import VERDICTS
from egpo.analysis.labels import label, note
from egpo.analysis.learning import quarter
from egpo.common.files import read_json, sha256, write_text
from egpo.common.paths import Model
from egpo.config.experiment import Catalogue
from egpo.report.glance import glance
from egpo.training.measured import warning
from egpo.training.progress import read_lines

Job = tuple[str, Model | None]  # rule, model; the data have no model

STAGES = {"data_pool": "data", "train_model": "training", "evaluate_model": "evaluation", "roll_out": "rollouts"}
# What to watch in a training; docs/methods.md explains it.
METRICS = {
    "egpo/groups/mixed": "mixed groups",
    "egpo/groups/entirely_correct": "entirely correct",
    "egpo/groups/entirely_incorrect": "entirely incorrect",
    "egpo/weight/correct/mean": "weight, correct",
    "egpo/weight/incorrect/mean": "weight, incorrect",
    "egpo/entropy/gap": "entropy gap",
    "egpo/nsr_share": "NSR's share",
}
_NUMBER = r"[-+]?\d[\d.,]*%?"
# As tables print it, with the number before it: "+1.2 [-0.3, 2.0]", "1.2 (-0.3 to 2.0)", "-0.3 to 2.0", "1.2 (+0.4)".
INTERVAL = re.compile(
    rf"(?:{_NUMBER} )?(?:\[{_NUMBER}, {_NUMBER}\]|\({_NUMBER}(?: to {_NUMBER})?\))|{_NUMBER} to {_NUMBER}"
)


@dataclass
class Section:
    """A part of the page.

    Attributes:
        name: its anchor.
        parts: HTML.
    """

    name: str
    title: str
    parts: list[str]


def html(text: str) -> str:
    """Markdown as HTML, without its title.

    Tables are in boxes that scroll on a small screen; a number and its interval stay on one line.
    """
    body = re.sub(r"\A# .*\n", "", text)
    made = to_html(
        body, extensions=["tables", "fenced_code", "md_in_html", "toc"], extension_configs={"toc": {"baselevel": 2}}
    )
    made = re.sub(r"<td.*?</td>", lambda cell: INTERVAL.sub(r'<span class="whole">\g<0></span>', cell[0]), made)
    return made.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")


def page(file: Path, folded: bool = False) -> str:
    """A page in Markdown as HTML; folded: only its title is seen until it is opened."""
    text = file.read_text()
    title = text.split("\n", 1)[0].removeprefix("# ")
    if folded:
        return f"<details><summary>{escape(title)}</summary>{html(text)}</details>"
    return f"<h3>{escape(title)}</h3>{html(text)}"


def figure(file: Path, text: str) -> str:
    """A PNG inside the page; the style sheet gives all the same width."""
    caption = escape(text)
    source = f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"
    return (
        f'<figure><div class="wide"><img alt="{caption}" src="{source}"></div><figcaption>{caption} '
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
    """What the calibration of each training did, on average over the last quarter of its steps."""
    rows = []
    for (backbone, method, seed), file in metrics.items():
        table = pd.read_json(file, lines=True).query("step > 0")
        last = table.tail(quarter(table["step"]))
        known = {text: last[name].mean() if name in last else float("nan") for name, text in METRICS.items()}
        rows.append({"model": label(catalogue, backbone, method), "seed": seed, **known})
    text = "Means over the last quarter of the steps; shares are of groups; docs/methods.md explains the weights."
    return f"<p>{text}</p>{frame(pd.DataFrame(rows))}"


def apart(catalogue: Catalogue, metrics: dict[Model, Path]) -> list[str]:
    """The trainings whose actor and vLLM are too far apart, or not compared: a note on each."""
    said = {model: warning(read_lines(file)) for model, file in metrics.items()}
    return [
        f'<p class="note">{escape(label(catalogue, backbone, method))}, seed {seed}: {escape(text)}</p>'
        for (backbone, method, seed), text in said.items()
        if text
    ]


def lineage(catalogue: Catalogue, manifests: dict[Job, Path], results: dict[Job, Path]) -> str:
    """Per stage and model: hashes of settings, code and results, and where the manifest lies."""
    rows = []
    for (rule, model), file in manifests.items():
        values, result = read_json(file), results[rule, model]
        rows.append(
            {
                "stage": STAGES[rule],
                "model": f"{label(catalogue, *model[:2])}, seed {model[2]}" if model else "",
                "settings": values["settings_hash"],
                "code": values["code"],
                "result": str(result),
                "sha256": sha256(result)[:12],
            }
        )
    text = (
        "Beside every result lies its <code>manifest.json</code>: all settings, package versions, hashes of what it "
        "was made from. The hashes of settings and code below are the manifest's; that of the result, the first 12 "
        "digits of its SHA-256, is of the file as it was read here."
    )
    return f"<p>{text}</p><details><summary>All results</summary>{frame(pd.DataFrame(rows))}</details>"


def _examples(
    catalogue: Catalogue, results: dict[Job, Path], measures: dict[Model, Path], flags: Path
) -> Iterator[tuple[str, str, str]]:
    """(number, Python that computes it again, what that prints), one of each kind, of the main method."""
    experiment = catalogue.experiment
    benchmark = experiment.benchmarks[0]
    model = (experiment.backbones[-1], experiment.main_method, experiment.training_seeds[-1])
    name = label(catalogue, *model[:2])
    records = results["evaluate_model", model]
    verdict = VERDICTS[experiment.scored_by]
    table = pd.read_parquet(records, columns=["benchmark", verdict])
    value = 100 * table[table["benchmark"] == benchmark][verdict].eq(True).mean()
    seed = "" if len(experiment.training_seeds) == 1 else f", training seed {model[2]} of it"
    code = f"r = p.read_parquet('{records}'); print(100 * r[r.benchmark == '{benchmark}'].{verdict}.eq(True).mean())"
    yield f"Table 1: {name} on {catalogue.benchmarks[benchmark].label}{seed}", code, f"{value:.6g}"
    if measures:
        means = pd.read_parquet(measures[model]).groupby("correct")["response"].mean()
        code = f"r = p.read_parquet('{measures[model]}'); print(r.groupby('correct').response.mean())"
        found = ", ".join(f"{'correct' if kind else 'incorrect'} {mean:.6f}" for kind, mean in means.items())
        yield f"Figure 3: mean entropies of {name}", code, found
    left = int((pd.read_parquet(flags, columns=["reason"])["reason"] == "").sum())
    yield "Data: rows of the pool", f"print((p.read_parquet('{flags}').reason == '').sum())", str(left)


def follow(catalogue: Catalogue, results: dict[Job, Path], measures: dict[Model, Path], flags: Path) -> str:
    """Commands that compute a number of each kind again, with what they must print."""
    parts = [
        f'<h4>{escape(title)}</h4><pre>.venv/bin/python -c "import pandas as p; {escape(command)}"</pre>'
        f"<p>prints {escape(result)}</p>"
        for title, command, result in _examples(catalogue, results, measures, flags)
    ]
    return "<h3>Follow a number</h3><p>From the folder of the repository:</p>" + "".join(parts)


def write_report(
    catalogue: Catalogue,
    captions: dict[str, str],
    template: Path,
    pages: dict[str, Path],
    manifests: dict[Job, Path],
    results: dict[Job, Path],
    measures: dict[Model, Path],
    flags: Path,
    comparisons: Path,
    out: Path,
) -> None:
    """Write report.html into `out`.

    Args:
        captions: of figures, by their names without suffix.
        pages: tables in Markdown and figures as PNG, by file name; what is not there has no place on the page.
        manifests: of every job in the lineage.
        results: the file of every job whose hash is shown.
        measures: `measures.parquet` of each model; none without the section `uncertainty`.
        flags: flags.parquet of the data stage.
        comparisons: comparisons.csv.
    """

    def tables(*names: str, folded: bool = False) -> list[str]:
        return [page(pages[f"{name}.md"], folded) for name in names if f"{name}.md" in pages]

    def figures(*names: str) -> list[str]:
        return [figure(pages[f"{name}.png"], captions[name]) for name in names if f"{name}.png" in pages]

    metrics = {model: file for (rule, model), file in results.items() if model and rule == "train_model"}
    origins = [lineage(catalogue, manifests, results), follow(catalogue, results, measures, flags)]
    answers = tables("answers", "second_opinion", folded=True)
    entropy = figures("entropy_density", "entropy_roc", "entropy_parts", "entropy_length")
    sections = [
        Section(
            "glance",
            "At a glance",
            [*(f"<p>{escape(text)}</p>" for text in glance(catalogue, comparisons)), *figures("accuracy", "forest")],
        ),
        Section("run", "What was run", [*figures("method"), what_was_run(catalogue)]),
        Section("data", "Data", [*figures("funnel"), *tables("funnel", folded=True)]),
        Section(
            "training",
            "Training",
            [
                *figures("learning_curve", "accuracy_by_step"),
                *tables("warm_up", folded=True),
                *tables("accuracy_by_step", folded=True),
                step_metrics(catalogue, metrics),
                *apart(catalogue, metrics),
                *tables("measured", folded=True),
            ],
        ),
        Section("replay", "Methods on the same responses", [*figures("replay"), *tables("replay", folded=True)]),
        Section("results", "Results", [*tables("table1", "table2", "ceilings", "comparisons"), *answers]),
        Section("entropy", "Entropy", [*entropy, *tables("table3"), *tables("case_study", folded=True)]),
        Section("claims", "Claims", tables("claims")),
        Section("audit", "Audit of the paper", tables("audit")),
        Section("lineage", "Lineage", origins),
    ]
    environment = Environment(autoescape=False, trim_blocks=True, lstrip_blocks=True)  # the parts are HTML already
    text = environment.from_string(template.read_text()).render(
        title=f"EGPO: experiment {escape(catalogue.experiment.experiment)}",
        note=escape(note(catalogue)),
        sections=[section for section in sections if section.parts],
    )
    write_text(out / "report.html", text)
