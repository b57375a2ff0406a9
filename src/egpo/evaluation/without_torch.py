"""A process in which evalscope finds no torch."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from typing import Any


class _NoTorch(MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "torch":
            raise ModuleNotFoundError("torch is left out of this process", name=name)


@contextlib.contextmanager
def without_torch() -> Iterator[None]:
    """Hide torch from evalscope, unless it is loaded already.

    evalscope imports torch only to empty the cache of a GPU that this process does not use. Because it scores every
    answer in a fork of this process, a process without torch saves a quarter of the scoring time.
    """
    if "torch" in sys.modules or "datasets" in sys.modules:
        yield
        return
    finder, before = _NoTorch(), os.environ.get("USE_TORCH")
    os.environ["USE_TORCH"] = "0"  # datasets looks at it before it looks for torch
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        if before is None:
            del os.environ["USE_TORCH"]
        else:
            os.environ["USE_TORCH"] = before
