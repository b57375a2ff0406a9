"""Where a result comes from: code, settings, inputs, package versions."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from egpo.files import sha256

PACKAGE = Path(__file__).parent
PACKAGES = ("torch", "verl", "transformers", "evalscope", "datasketch", "math-verify", "snakemake", "numpy")


class _Bare(ast.NodeTransformer):
    """Removes docstrings, so that only what runs counts."""

    def _strip(self, node: Any) -> Any:
        self.generic_visit(node)
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:] or [ast.Pass()]
        return node

    visit_Module = visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = _strip


@cache
def code_version(*parts: str) -> str:
    """Hash of what the modules of egpo named by `parts` do: comments, docstrings and layout do not count.

    A part is a folder ("training") or a module ("data/problems.py") of the package.
    """
    digest = hashlib.sha256()
    for part in parts:
        path = PACKAGE / part
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        for file in files:
            tree = _Bare().visit(ast.parse(file.read_text()))
            digest.update(str(file.relative_to(PACKAGE)).encode() + ast.dump(tree).encode())
    return digest.hexdigest()[:16]


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
