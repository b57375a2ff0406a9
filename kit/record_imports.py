"""Appends every module that a process imports, and every package whose version it requests, to the file $KIT_IMPORTS.

`kit.find_packages` makes all processes of the kit's steps load this file as sitecustomize. Lines are written at once,
as most of these processes are killed.
"""

import importlib.metadata
import os
import sys

_SEEN: set[str] = set()


def _note(kind: str, name: str) -> None:
    line = f"{kind} {name}\n"
    if line not in _SEEN:
        _SEEN.add(line)
        with open(os.environ["KIT_IMPORTS"], "a") as file:  # noqa: PTH123 (pathlib would be recorded as an import)
            file.write(line)


def _on_event(event: str, arguments: tuple[object, ...]) -> None:
    if event == "import":
        _note("import", str(arguments[0]))


def _asked(name: str, original: object = importlib.metadata.Distribution.from_name) -> object:
    _note("version", name)
    return original(name)  # type: ignore[operator]


if "KIT_IMPORTS" in os.environ:
    sys.addaudithook(_on_event)
    importlib.metadata.Distribution.from_name = staticmethod(_asked)  # type: ignore[method-assign, assignment]
