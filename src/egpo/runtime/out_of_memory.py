"""Whether a process has ended because memory was short: what torch, CUDA, Ray, Python and the kernel say of it."""

from __future__ import annotations

import re
from pathlib import Path

# torch on a CPU, CUDA and Ray's monitor, Python, C++ and the C library.
WORDS = re.compile(
    r"DefaultCPUAllocator: (can't|not enough) (allocate )?memory|out of memory|OutOfMemoryError|MemoryError|bad_alloc|"
    r"Cannot allocate memory|running low on memory",
    re.IGNORECASE,
)


def says_so(text: str) -> bool:
    """Whether the text of an error names a lack of memory."""
    return WORDS.search(text) is not None


def kills() -> int:
    """How many processes the kernel has killed for memory since it started, in all its containers; 0 if unknown."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
