"""Hashes: keyed ones for random choices about rows, and one of settings.

A keyed hash depends only on the seed, the name of the choice and the key of the row. So neither the order of rows nor
the number of shards or workers can change a result.
"""

from __future__ import annotations

import hashlib
import json
from random import Random
from typing import Any


def digest(seed: int, stage: str, key: str, size: int = 16) -> bytes:
    """`size` pseudo-random bytes from the seed, the name of the choice (`stage`) and the key."""
    return hashlib.blake2b(f"{seed}\n{stage}\n{key}".encode(), digest_size=size).digest()


def generator(seed: int, stage: str, key: str) -> Random:
    """A random generator seeded with `digest`."""
    return Random(int.from_bytes(digest(seed, stage, key)))


def stable_hash(settings: Any) -> str:
    """Hash of settings as JSON, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]
