"""The table of what verl measured: time, memory, and how far actor and vLLM were apart."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from egpo.analysis.labels import label, note
from egpo.common.files import write_text
from egpo.common.paths import Model
from egpo.config.experiment import Catalogue
from egpo.report.document import document, markdown_table
from egpo.training.measured import BOUND, DIFFERENCE, MEASURES, MOST, measured, warning
from egpo.training.progress import read_lines


def _text(name: str, value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.1e}" if name == DIFFERENCE else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def write_measured(catalogue: Catalogue, metrics: dict[Model, Path], out: Path) -> None:
    """Write measured.md and measured.csv into `out`.

    Args:
        metrics: `metrics.jsonl` of each training.
    """
    rows, texts, warnings = [], [], []
    for (backbone, method, seed), file in metrics.items():
        steps = read_lines(file)
        found, name = measured(steps), f"{label(catalogue, backbone, method)}, seed {seed}"
        rows.append({"backbone": backbone, "method": method, "seed": seed, **found})
        texts.append([name, *(_text(key, value) for key, value in found.items())])
        if said := warning(steps):
            warnings.append(f"- {name}: {said}")
    most = ", ".join(MEASURES[name] for name in MEASURES if name in MOST)
    lines = [
        "# What verl measured",
        "",
        f"Medians over the steps; the largest of: {most}. The difference of actor and vLLM is that of a response's "
        f"mean log-probability, mean over a step; above {BOUND} nats, or missing, it is named below.",
        "",
        *markdown_table(["Training", *MEASURES.values()], texts),
        "",
        *(warnings or ["No step is above that bound."]),
    ]
    write_text(out / "measured.md", document(lines, note(catalogue)))
    write_text(out / "measured.csv", pd.DataFrame(rows).to_csv(index=False, float_format="%.6g"))
