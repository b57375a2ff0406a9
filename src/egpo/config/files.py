"""Reading YAML files of the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from egpo.common.errors import UserError

DEFAULT_CONFIG = "config/demo.yaml"  # where the user names no file


def _check_unique(node: yaml.Node | None, where: str) -> None:
    """Raise UserError for a key that appears twice in a mapping: YAML would silently take the last one."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_unique(item, where)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else str(key.start_mark)
        if name in seen:
            raise UserError(
                f"{where}: line {key.start_mark.line + 1}: the key '{name}' appears twice, and YAML would take the "
                "last one. Remove one of them."
            )
        seen.add(name)
        _check_unique(value, where)


def _syntax_error(error: yaml.YAMLError) -> str:
    """One line about a file that is not valid YAML."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    remedy = " Indent with spaces." if "\\t" in problem else ""
    return f"{place}{problem}. Fix this line or the one before it.{remedy}"


def parse_yaml(text: str, where: str) -> Any:
    """The value of a text in YAML; where: how messages name it.

    Raises:
        UserError: it is not valid YAML, or has a key twice.
    """
    try:
        _check_unique(yaml.compose(text, yaml.SafeLoader), where)
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not valid YAML: {_syntax_error(error)}") from None
    except ValueError as error:  # of what looks like a date or has the tag of a number, and is none
        raise UserError(f"{where}: not valid YAML: a value cannot be read ({error}). Put it into quotes.") from None
    except RecursionError:
        raise UserError(
            f"{where}: not valid YAML: it is nested too deeply, or an anchor (&) holds an alias (*) of itself. Write "
            "the values out."
        ) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: the file cannot be read, is not valid YAML, has a key twice, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file. Correct its path.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Give the path of a YAML file.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not valid YAML: byte {error.start} is not UTF-8. Save the file as UTF-8.") from None
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        found = "nothing" if values is None else type(values).__name__
        raise UserError(f"{path}: expected keys with values, found {found}. config/demo.yaml is an example.")
    return values


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, mapping by mapping."""
    result = {**base, **over}
    for key in base.keys() & over.keys():
        if isinstance(base[key], dict) and isinstance(over[key], dict):
            result[key] = merged(base[key], over[key])
    return result


def read_files(paths: Iterable[str | Path]) -> dict[str, Any]:
    """The files of one experiment, each laid over those before it, as Snakemake does. Raises as `read_yaml` does."""
    values: dict[str, Any] = {}
    for path in paths:
        values = merged(values, read_yaml(Path(path)))
    return values
