"""The pages on answers: pass@k, majority@k, lengths, what was not scored, and the verdicts of a second verifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.dataset as ds

from egpo.analysis.answers import NOT_SCORED, Answers, read_answers
from egpo.analysis.labels import label, note
from egpo.analysis.statistics import length_quantiles, majority_at_k, pass_at_k
from egpo.common.answers import normalize_answer
from egpo.common.files import write_text
from egpo.common.hashing import digest
from egpo.common.paths import Model
from egpo.config.experiment import Catalogue
from egpo.report.document import document, markdown_table

EXAMPLES, EXAMPLE_LENGTH = 3, 80
EVALSCOPE_ALONE, OURS_ALONE = "evalscope alone takes it for right", "our verifier alone takes it for right"
SIDES = {"evalscope_alone": EVALSCOPE_ALONE, "ours_alone": OURS_ALONE}


def powers(trials: int) -> list[int]:
    """1, 2, 4, ... up to the number of trials, and that number."""
    return sorted({*(2**exponent for exponent in range(trials.bit_length()) if 2**exponent <= trials), trials})


def keys(answers: Answers) -> np.ndarray:
    """Objects (training seeds, questions, trials): the normalised answer that evalscope extracted, None without one.

    The vote counts 1/2 and 0.5 as different answers. A response that is not scored has no answer. A right one from
    which evalscope extracted nothing has the answer "".
    """
    extracted = answers.column("extracted")
    texts = [normalize_answer(text) if isinstance(text, str) and text.strip() else None for text in extracted.ravel()]
    found = np.array(texts, dtype=object).reshape(extracted.shape)
    found[answers.column("status") != "scored"] = None
    found[answers.correct & pd.isnull(found)] = ""
    return found


def row(answers: Answers) -> dict[str, Any]:
    """Everything that the pages say of one model on one benchmark; shares and accuracies in percent."""
    ks = powers(answers.correct.shape[2])
    given, right = keys(answers), answers.correct
    opinions = answers.together.dropna(subset=["verified"])
    scored = opinions[opinions["status"] == "scored"]
    share = 100 / len(answers.together)
    return {
        "backbone": answers.backbone,
        "method": answers.method,
        "benchmark": answers.benchmark,
        **{f"pass@{k}": 100 * value for k, value in pass_at_k(right, ks).items()},
        **{f"majority@{k}": 100 * value for k, value in majority_at_k(given, right, ks).items()},
        **{f"tokens_{name}": value for name, value in length_quantiles(answers.together["response_tokens"]).items()},
        "truncated": share * answers.counts["truncated"],
        "shortened": share * answers.counts["shortened"],
        "no_answer": share * float(pd.isnull(given).sum()),
        **{kind: share * answers.counts[kind] for kind in NOT_SCORED},
        "opinions": len(scored),
        "no_opinion": int((answers.together["status"] == "scored").sum()) - len(scored),
        "evalscope_alone": int((scored["correct"] & ~scored["verified"].astype(bool)).sum()),
        "ours_alone": int((~scored["correct"] & scored["verified"].astype(bool)).sum()),
    }


def _table(catalogue: Catalogue, table: pd.DataFrame, columns: dict[str, str], form: str) -> list[str]:
    rows = [
        [
            label(catalogue, row["backbone"], row["method"]),
            catalogue.benchmarks[row["benchmark"]].label,
            *("" if pd.isna(row[column]) else format(row[column], form) for column in columns),
        ]
        for row in table.to_dict("records")
    ]
    return markdown_table(["Model", "Benchmark", *columns.values()], rows)


def markdown(catalogue: Catalogue, table: pd.DataFrame) -> str:
    chances = {name: name for name in map(str, table) if name.startswith(("pass@", "majority@"))}
    lengths = {"tokens_p10": "10%", "tokens_p50": "median", "tokens_p90": "90%", "tokens_max": "longest"}
    lost = {name: name.replace("_", " ") for name in ("truncated", "shortened", "no_answer", *NOT_SCORED)}
    lines = [
        "# How the answers came about",
        "",
        "## Several answers to one question",
        "",
        "Accuracy in percent. pass@k: one of k answers is right (Chen et al. 2021, unbiased). majority@k: the most "
        "frequent of k answers is right, ties shared. Both over all draws of k from the trials, and all questions.",
        "",
        *_table(catalogue, table, chances, ".2f"),
        "",
        "## Lengths",
        "",
        "Tokens of the responses: quantiles over questions and trials.",
        "",
        *_table(catalogue, table, lengths, ".0f"),
        "",
        "## What was cut off or lost",
        "",
        "Percent of all answers asked for. truncated: used up its limit; shortened: its prompt left less than the "
        "whole limit; no answer: evalscope extracted nothing. The others are not scored and count as wrong: "
        "excluded (evalscope's scorer failed or took too long), missing (evalscope wrote nothing), failed (vLLM "
        "failed), overflow (the prompt left too little of the context and was not asked).",
        "",
        *_table(catalogue, table, lost, ".2f"),
    ]
    return document(lines, note(catalogue))


# --- the second opinion --------------------------------------------------------------------------


def disagreements(path: Path, benchmark: str) -> pd.DataFrame:
    """The records, with responses, on which evalscope and the training's verifier disagree."""
    field = pc.field
    differ = (field("status") == "scored") & pc.is_valid(field("verified")) & (field("correct") != field("verified"))
    wanted = ["question", "trial", "correct", "extracted", "target", "response"]
    return ds.dataset(path).to_table(columns=wanted, filter=(field("benchmark") == benchmark) & differ).to_pandas()


def _short(text: str | None, end: bool = False) -> str:
    """One line of a Markdown table: the beginning of a text, or its end."""
    line = " ".join((text or "").split())
    if len(line) > EXAMPLE_LENGTH:
        line = f"…{line[-EXAMPLE_LENGTH:]}" if end else f"{line[:EXAMPLE_LENGTH]}…"
    return line.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _examples(catalogue: Catalogue, records: dict[Model, Path], benchmark: str) -> list[list[str]]:
    """At most EXAMPLES of each kind, by smallest keyed hash."""
    found = []
    for (backbone, method, seed), path in records.items():
        for one in disagreements(path, benchmark).to_dict("records"):
            key = f"{backbone} {method} {seed} {benchmark} {one['question']} {one['trial']}"
            found.append((digest(0, "second opinion", key), label(catalogue, backbone, method), one))
    rows = []
    for correct, kind in ((True, EVALSCOPE_ALONE), (False, OURS_ALONE)):
        chosen = sorted((item for item in found if item[2]["correct"] == correct), key=lambda item: item[0])
        for _, name, one in chosen[:EXAMPLES]:
            place = f"{one['question']}, {one['trial']}"
            texts = [_short(one["target"]), _short(one["extracted"]), _short(one["response"], end=True)]
            rows.append([kind, name, place, *texts])
    return rows


def second_opinion(catalogue: Catalogue, table: pd.DataFrame, records: dict[Model, Path]) -> str:
    """Where evalscope's scores and the training's verifier (Eq. 1) disagree, by benchmark, with examples."""
    lines = [
        "# A second opinion",
        "",
        "Every response was also scored by the verifier that gave the reward in training: its last `\\boxed{}` against "
        'the reference. Of multiple choice, the letter is read from the last box, the words "answer is", bold text or '
        "the last line.",
    ]
    for name in catalogue.experiment.benchmarks:
        rows = table[table["benchmark"] == name]
        asked = int(rows["opinions"].sum())
        lines += ["", f"## {catalogue.benchmarks[name].label}", ""]
        if not asked:
            lines.append("No second opinion.")
            continue
        sides = [(int(rows[column].sum()), text) for column, text in SIDES.items()]
        shares = ", ".join(f"{count} times ({100 * count / asked:.2f}%) {text}" for count, text in sides)
        silent = int(rows["no_opinion"].sum())
        without = f" {silent} more ({100 * silent / (asked + silent):.2f}%) have no letter to read." if silent else ""
        lines.append(f"Of {asked} answers of all models: {shares}.{without}")
        examples = _examples(catalogue, records, name)
        if examples:
            heads = ["which", "Model", "question, trial", "reference", "extracted", "end of the response"]
            lines += ["", *markdown_table(heads, examples)]
    return document(lines, note(catalogue))


def write_answers(catalogue: Catalogue, records: dict[Model, Path], out: Path) -> None:
    """Write answers.md, answers.csv and second_opinion.md into `out`, for the models of Table 1."""
    found = read_answers(catalogue, records, catalogue.experiment.benchmarks)
    table = pd.DataFrame([row(answers) for answers in found.values()])
    write_text(out / "answers.md", markdown(catalogue, table))
    write_text(out / "answers.csv", table.to_csv(index=False, float_format="%.4f"))
    write_text(out / "second_opinion.md", second_opinion(catalogue, table, records))
