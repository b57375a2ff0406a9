"""Results of the kit's steps: one line of JSON for each, written at once, and a page made of these lines.

Standard library only: runner and page also work if the installation failed.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

LINES, PAGE = "results.jsonl", "page.md"
OK, FAILED, TIMED_OUT, LEFT_OUT = "ok", "FAILED", "TIMED OUT", "left out"


def append(folder: Path, line: dict[str, Any]) -> None:
    """Append one result to the lines in `folder`, and write the page again."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LINES).open("a") as file:
        file.write(json.dumps({**line, "time": time.strftime("%Y-%m-%d %H:%M:%S")}) + "\n")
    write_page(folder)


def read(folder: Path) -> list[dict[str, Any]]:
    """All results; incomplete lines are left out."""
    path = folder / LINES
    lines = path.read_text().splitlines() if path.exists() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def value_text(value: Any) -> str:
    """A number with four digits, anything else unchanged."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _cell(text: Any) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def _row(line: dict[str, Any]) -> str:
    cells = (line["name"], value_text(line["value"]), line["unit"], line["note"])
    return f"| {' | '.join(map(_cell, cells))} |"


def last_run(lines: list[dict[str, Any]], step: str) -> list[dict[str, Any]]:
    """The results of a step since its last start."""
    mine = [line for line in lines if line["step"] == step]
    starts = [number for number, line in enumerate(mine) if line["kind"] == "start"]
    return mine[starts[-1] :] if starts else mine


def page_text(lines: list[dict[str, Any]]) -> str:
    """The results as Markdown, by step; of a step that ran several times, those of the last run."""
    parts = ["# Results of the GPU kit", ""]
    for step in dict.fromkeys(line["step"] for line in lines):
        mine = last_run(lines, step)
        ended = [line for line in mine if line["kind"] == "end"]
        state = f"{ended[-1]['state']}, {ended[-1]['seconds']:.0f} s" if ended else "running or killed"
        parts += [f"## {step}: {state}", ""]
        values = [line for line in mine if line["kind"] == "value"]
        if values:
            parts += ["| what | value | unit | note |", "| --- | ---: | --- | --- |"]
            parts += [*map(_row, values), ""]
        for line in mine:
            if line["kind"] == "error":
                parts += [f"**{line['name']}** failed:", "", "```", line["traceback"].rstrip(), "```", ""]
    return "\n".join(parts)


def write_page(folder: Path) -> None:
    """Write the page again, by a rename, so that readers never see a part of it."""
    temporary = folder / f".{PAGE}"
    temporary.write_text(page_text(read(folder)))
    temporary.rename(folder / PAGE)
