"""verl's socket for the transfer of weights on a CPU."""

from __future__ import annotations

import os

from egpo.training.names import RUN_FOLDER


def private_socket(handle: str) -> str:
    """Move verl's socket for the transfer of weights to a folder of this training alone.

    verl's name of the socket contains Ray's job number, which is 1 in every Ray that is started for one training: two
    trainings on one machine would exchange weights.

    Args:
        handle: verl's address of the socket.
    """
    return f"ipc://{os.environ[RUN_FOLDER]}/{handle.rsplit('/', 1)[1]}"
