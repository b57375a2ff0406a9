"""Where processes put their sockets, whose paths may have at most 107 characters on Linux."""

from __future__ import annotations

import os
import tempfile

LONGEST = 107
# What comes below: our folder, then Ray's session_<date>_<time>_<microseconds>_<process>/sockets/plasma_store; what
# vLLM puts there is shorter.
BELOW = len("/egpo-12345678") + len("/session_2026-01-01_12-00-00_123456_1234567") + len("/sockets/plasma_store")


def short_folder() -> str:
    """The temporary folder of this machine (TMPDIR) if its path is short enough and it can be written, else /tmp."""
    given = tempfile.gettempdir()
    return given if len(given.encode()) <= LONGEST - BELOW and os.access(given, os.W_OK | os.X_OK) else "/tmp"
