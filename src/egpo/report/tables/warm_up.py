"""The page on the warm-up of backbones: what they solve before and after it, with some responses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from egpo.analysis.labels import note
from egpo.common.files import read_json, write_text
from egpo.config.experiment import Catalogue
from egpo.report.document import document, fenced, markdown_table

SHARES = {
    "pass_rate": "pass rate",
    "mixed": "mixed groups",
    "entirely_correct": "entirely correct",
    "entirely_incorrect": "entirely incorrect",
}
RESPONSES = 5  # of each backbone


def _responses(label: str, shown: list[dict[str, str]]) -> list[str]:
    lines = []
    for number, one in enumerate(shown[:RESPONSES], start=1):
        lines += ["", f"## {label}, problem {number}", "", *fenced(one["problem"])]
        lines += ["", f"Reference answer: `{one['answer']}`. Before the warm-up:", "", *fenced(one["response"])]
        lines += ["", "After it:", "", *fenced(one["after"])]
    return lines


def write_warm_up(catalogue: Catalogue, warm_ups: dict[str, Path], out: Path) -> None:
    """Write warm_up.md into `out`.

    Args:
        warm_ups: the manifest of each backbone's warm-up.
    """
    found: dict[str, Any] = {catalogue.backbones[name].label: read_json(file) for name, file in warm_ups.items()}
    rows = [
        [label, str(values["examples"]), when, *(f"{values[when][name]:.2f}" for name in SHARES)]
        for label, values in found.items()
        for when in ("before", "after")
    ]
    lines = [
        "# Warm-up",
        "",
        "A supervised training on worked examples, before all trainings with rewards. Measured on problems of the "
        "validation rows at temperature 1; shares are of groups of responses to a problem.",
        "",
        *markdown_table(["Model", "examples", "when", *SHARES.values()], rows),
        *(line for label, values in found.items() for line in _responses(label, values["responses"])),
    ]
    write_text(out / "warm_up.md", document(lines, note(catalogue)))
