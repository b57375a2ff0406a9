"""Loaded first thing in each of Ray's workers (RAY_preload_python_modules): imports allocate much and free nothing.

With Python's own thresholds a tenth of the time of an import of verl goes into looking for garbage.
"""

from __future__ import annotations

import gc

gc.set_threshold(50_000, 20, 50)
