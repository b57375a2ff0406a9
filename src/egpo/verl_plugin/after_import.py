"""Call functions after a module has been imported, without importing it here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any


class _Watcher(MetaPathFinder):
    def __init__(self) -> None:
        self.actions: dict[str, list[Callable[[], object]]] = {}

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name not in self.actions:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        actions, execute = self.actions.pop(name), spec.loader.exec_module

        def execute_then_act(module: Any) -> None:
            execute(module)
            for action in actions:
                action()

        spec.loader.exec_module = execute_then_act  # type: ignore[method-assign]
        return spec


_WATCHER = _Watcher()


def after_import(name: str, action: Callable[[], object]) -> None:
    """Call `action` once the module `name` has been imported; at once if it already is.

    Several actions for one module are called in the order of registration.
    """
    if name in sys.modules:
        action()
        return
    _WATCHER.actions.setdefault(name, []).append(action)
    if _WATCHER not in sys.meta_path:
        sys.meta_path.insert(0, _WATCHER)
