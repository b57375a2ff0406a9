"""What `snakemake plan`, `status` and `doctor` print: bare, while a stage sends standard output to its log."""

from __future__ import annotations

import os

# As it is at the import, which comes before egpo.runtime.job.stage.
TERMINAL = os.dup(1)


def show(text: str) -> None:
    """Print a text, whole, followed by the end of its line."""
    with os.fdopen(os.dup(TERMINAL), "w", errors="replace") as terminal:
        print(text, file=terminal)
