"""What Ray runs in place of its start script (setup_worker.py): asks egpo.runtime.fork_server for a worker.

Ray runs it as a file for every worker that it starts, so it imports the standard library alone.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

RUN_FOLDER = "EGPO_RUN_FOLDER"  # environment variable: a folder of one training, with a path short enough for sockets
CONTEXT = "--serialized-runtime-env-context="
LANGUAGE = "--language="


def address() -> Path:
    """The server's socket."""
    return Path(os.environ[RUN_FOLDER]) / "fork"


def request(arguments: list[str]) -> dict[str, object]:
    """What a worker needs to start: its command line, folder and environment, from Ray's command line."""
    context: dict[str, dict[str, str]] = {}
    command = []
    for argument in arguments:
        if argument.startswith(CONTEXT):
            context = json.loads(argument.removeprefix(CONTEXT))
        elif not argument.startswith(LANGUAGE):
            command.append(argument)
    environment = {**os.environ, **context.get("env_vars", {})}
    return {"arguments": command, "folder": str(Path.cwd()), "environment": environment}


def main(arguments: list[str]) -> None:
    """Send the request, with this process's standard streams, and end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(str(address()))
        socket.send_fds(connection, [json.dumps(request(arguments)).encode()], [0, 1, 2])


if __name__ == "__main__":
    main(sys.argv[1:])
