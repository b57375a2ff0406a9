"""A process that finds no torch: for jobs that need it nowhere, but whose libraries import it wherever it is."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class _Except:
    """A finder of modules that does not find torch, neither to import it nor to see whether it is there."""

    def __init__(self, finder: Any) -> None:
        self.finder = finder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return None if name == "torch" else self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


@contextlib.contextmanager
def without_torch() -> Iterator[None]:
    """Hide torch from evalscope and transformers, unless it or datasets is loaded already.

    Importing torch takes seconds. evalscope would use it only to empty the cache of a GPU that this process does not
    use, and its forks copy it; transformers needs no torch for a tokenizer.
    """
    if "torch" in sys.modules or "datasets" in sys.modules:
        yield
        return
    before = os.environ.get("USE_TORCH")
    os.environ["USE_TORCH"] = "0"  # datasets looks at it before it looks for torch
    sys.meta_path[:] = [_Except(finder) for finder in sys.meta_path]
    try:
        yield
    finally:
        sys.meta_path[:] = [finder.finder if isinstance(finder, _Except) else finder for finder in sys.meta_path]
        if before is None:
            del os.environ["USE_TORCH"]
        else:
            os.environ["USE_TORCH"] = before
