"""Reading YAML files of the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from egpo.common.errors import UserError


def _check_once(node: yaml.Node | None, path: Path) -> None:
    """Raise UserError for a key that stands twice in a mapping: YAML would take the last one in silence."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_once(item, path)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else str(key.start_mark)
        if name in seen:
            raise UserError(
                f"{path}: line {key.start_mark.line + 1}: the key '{name}' stands twice, and YAML would take the last "
                "one. Take one out."
            )
        seen.add(name)
        _check_once(value, path)


def _what_is_wrong(error: yaml.YAMLError) -> str:
    """One line on a file that YAML cannot read."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error).splitlines()[0]
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    remedy = " Indent with blanks." if "\\t" in problem else ""
    return f"{place}{problem}. Mend this line or the one before it.{remedy}"


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, or a UserError that says what is wrong with the file."""
    try:
        text = path.read_text(encoding="utf-8")
        _check_once(yaml.compose(text, yaml.SafeLoader), path)
        values = yaml.safe_load(text)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not valid YAML: byte {error.start} is not UTF-8. Save the file as UTF-8.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {_what_is_wrong(error)}") from None
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
    """Files of one experiment, each laid over those before it, as Snakemake does; raises as `read_yaml` does."""
    values: dict[str, Any] = {}
    for path in paths:
        values = merged(values, read_yaml(Path(path)))
    return values
