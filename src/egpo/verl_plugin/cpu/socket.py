"""verl's socket for the transfer of weights on a CPU."""

from __future__ import annotations

import os

from egpo.training.nodes import RUN_FOLDER


def own_socket(handle: str) -> str:
    """verl's socket for the transfer of weights, in a folder of this training alone.

    verl tells trainings apart by Ray's job number, which is 1 in every Ray that is started for one
    training: two trainings on one machine would take each other's weights.
    """
    return f"ipc://{os.environ[RUN_FOLDER]}/{handle.rsplit('/', 1)[1]}"
