"""Documents of the report: tables in Markdown and LaTeX, and the notes below them."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 4000  # characters of a response that are shown


def paragraphs(texts: Iterable[str]) -> list[str]:
    """Lines of Markdown: each text that is not empty, after an empty line."""
    return [line for text in texts if text for line in ("", text)]


def document(lines: Iterable[str], *below: str) -> str:
    """The text of a page in Markdown: its lines, and notes below them; empty notes are left out."""
    return "\n".join([*lines, *paragraphs(below)]) + "\n"


def markdown_table(heads: list[str], rows: Iterable[list[str]], texts: int = 1) -> list[str]:
    """Lines of a Markdown table; texts: how many of its columns are aligned to the left, as text, not as numbers."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * texts + " ---: |" * (len(heads) - texts)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]


def fenced(text: str) -> list[str]:
    """A code block that no response can end; a long one is cut."""
    fence = "`" * (3 + text.count("```") * 3)
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}\n[{len(text) - LONGEST} characters more]"
    return [fence, *shown.splitlines(), fence]


def escape(text: str) -> str:
    """Plain text for LaTeX."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(sign, f"\\{sign}" if sign in "&%$#_{}" else sign) for sign in text)


def booktabs(name: str, caption: str, heads: list[str], rows: list[str], below: list[str]) -> str:
    r"""A LaTeX table to \input; it needs the package booktabs.

    Args:
        name: of the label, `tab:<name>`.
        caption: plain text.
        heads: plain text of every column but the first, "Model".
        rows: in LaTeX, with the rules between them.
        below: notes below the table, plain text.
    """
    lines = [
        r"\begin{table}",
        r"\centering",
        f"\\caption{{{escape(caption)}}}",
        f"\\label{{tab:{name}}}",
        f"\\begin{{tabular}}{{l{'r' * len(heads)}}}",
        r"\toprule",
        " & ".join(["Model", *map(escape, heads)]) + r" \\",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        "",
        r"\smallskip",
        r"\begin{minipage}{\linewidth}\footnotesize",
        *(escape(line) + r"\par" for line in below),
        r"\end{minipage}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
