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
from egpo.common.hashing import stable_hash
from egpo.common.stages import STAGES

PACKAGE = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "verl", "transformers", "evalscope", "datasketch", "math-verify", "snakemake", "numpy")

# What holds, moves, watches and reports results, and makes none. Settings count by their values, not by the models in
# config/, which must hold no behaviour that decides a result.
PLUMBING = (
    *("config/", "runtime/"),
    *("common/errors.py", "common/files.py", "common/git.py"),
    *("common/paths.py", "common/provenance.py", "common/stages.py"),
    *("inference/progress.py", "training/checkpoints.py", "training/progress.py"),
    *("training/responses.py", "training/trackers.py", "verl_plugin/record.py", "verl_plugin/tracking.py"),
    # Sizes by the memory change a result by rounding alone.
    *("training/fit.py", "training/memory.py", "training/memory_cpu.py"),
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


def modules(*parts: str, without: Iterable[str] = ()) -> dict[str, str]:
    """What modules of egpo do, by name ("data/sample.py"): those that `parts` name, and those that they import.

    Args:
        parts: modules; a file elsewhere is named by its path from the package.
        without: modules that do not count, and are not followed. PLUMBING does not count unless a part names it.
    """
    waiting, found, left_out = list(parts), {}, set(without)
    while waiting:
        name = waiting.pop()
        if name not in found and name not in left_out:
            found[name], imported = _read(PACKAGE / name)
            waiting += imported
    return found


@cache
def code_version(*parts: str, without: tuple[str, ...] = ()) -> str:
    """Hash of what `modules` finds: comments, docstrings and layout do not count."""
    return hashlib.sha256(json.dumps(modules(*parts, without=without), sort_keys=True).encode()).hexdigest()[:16]


def read_again() -> None:
    """Forget the files: hashes from now on are of what they are then."""
    _read.cache_clear()
    code_version.cache_clear()


def stage_code(rule: str, *parts: str, platform: str = "cuda") -> str:
    """Version of the code of a stage, as its rule counts it.

    Args:
        parts: modules beside those of the stage, such as the file of a user's custom weights.
        platform: "cpu" or "cuda"; code of the other one does not count.
    """
    stage = STAGES[rule]
    if platform == "cpu":
        return code_version(*stage.code, *stage.cpu_code, *parts)
    return code_version(*stage.code, *parts, without=stage.cpu_code)


def origin(settings: Any, code: str, inputs: Iterable[str | Path]) -> dict[str, Any]:
    """What a manifest says of a result's origin; `inputs` are files, hashed by content."""
    installed = {}
    for name in PACKAGES:
        installed[name] = version(name)
    return {
        "settings": settings,
        "settings_hash": stable_hash(settings),
        "code": code,
        "inputs": {str(path): sha256(Path(path)) for path in inputs},
        "packages": installed,
    }
