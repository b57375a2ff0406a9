"""Where a result comes from: code, settings, inputs, package versions."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from egpo.common.files import sha256

PACKAGE = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "verl", "transformers", "evalscope", "datasketch", "math-verify", "snakemake", "numpy")

# What holds, moves, watches and reports results, and makes none. Settings count by their values, not by their model.
PLUMBING = (
    *("config/", "runtime/"),
    *("common/errors.py", "common/files.py", "common/paths.py", "common/provenance.py"),
    *("inference/progress.py", "training/checkpoints.py", "training/progress.py"),
)


class _Bare(ast.NodeTransformer):
    """Removes docstrings, so that only what runs counts."""

    def _strip(self, node: Any) -> Any:
        self.generic_visit(node)
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:] or [ast.Pass()]
        return node

    visit_Module = visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = _strip


def _names(tree: ast.AST) -> Iterator[str]:
    """Full names of all that a module imports, at its top or in a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _read(file: Path) -> tuple[str, frozenset[str]]:
    """(what a module does, as text; the modules of egpo that it imports, the plumbing left out)."""
    tree = ast.parse(file.read_text())
    imported = {
        f"{name.removeprefix('egpo.').replace('.', '/')}.py" for name in _names(tree) if name.startswith("egpo.")
    }
    return ast.dump(_Bare().visit(tree)), frozenset(
        name for name in imported if not name.startswith(PLUMBING) and (PACKAGE / name).is_file()
    )


def modules(*parts: str) -> dict[str, str]:
    """What modules of egpo do, by name ("synthetic/problems.py"): those that `parts` name, and those that they import.

    A file elsewhere is named by its path from the package. PLUMBING is left out unless a part names it.
    """
    waiting, found = list(parts), {}
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name], imported = _read(PACKAGE / name)
            waiting += imported
    return found


@cache
def code_version(*parts: str) -> str:
    """Hash of what `modules` finds: comments, docstrings and layout do not count."""
    return hashlib.sha256(json.dumps(modules(*parts), sort_keys=True).encode()).hexdigest()[:16]


def settings_hash(settings: Any) -> str:
    """Hash of settings that JSON can express, independent of the order of keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def origin(settings: Any, code: str, inputs: Iterable[str | Path]) -> dict[str, Any]:
    """What a manifest says of a result's origin; `inputs` are files, hashed by content."""
    installed = {}
    for name in PACKAGES:
        installed[name] = version(name)
    return {
        "settings": settings,
        "settings_hash": settings_hash(settings),
        "code": code,
        "inputs": {str(path): sha256(Path(path)) for path in inputs},
        "packages": installed,
    }
