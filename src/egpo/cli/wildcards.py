"""Finding the files that a path with {wildcards} stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

SEED = r"\d+"
ANY = r"[^/]+"


def one_of(names: Iterable[str]) -> str:
    """A regular expression of these names alone."""
    return "|".join(map(re.escape, names)) or "(?!)"


def existing(template: Path, values: dict[str, str]) -> Iterator[tuple[Path, dict[str, str]]]:
    """The files that exist of a template, by name, each with its wildcards.

    Args:
        template: a path with wildcards as `{name}`, from the working directory.
        values: the regular expressions of wildcards; the others are names of files.
    """
    escaped = re.escape(str(template))
    pattern = re.sub(r"\\\{(\w+)\\\}", lambda found: f"(?P<{found[1]}>{values.get(found[1], ANY)})", escaped)
    for file in sorted(Path().glob(re.sub(r"\{\w+\}", "*", str(template)))):
        if match := re.fullmatch(pattern, str(file)):
            yield file, match.groupdict()
