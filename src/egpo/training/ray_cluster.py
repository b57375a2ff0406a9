"""One Ray over all nodes of a Slurm job, for a training that needs several.

The node that runs this is the head; srun starts a worker on each of the others, as steps of the same job that end with
it. Traffic between the nodes carries the training's own token (RAY_AUTH_TOKEN), but is not encrypted.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from egpo.errors import UserError

SECONDS_TO_JOIN = 300
RAY = str(Path(sys.executable).with_name("ray"))


def other_nodes() -> list[str]:
    """The nodes of this Slurm job but the one this runs on. Raises UserError outside of Slurm."""
    try:
        here, every = os.environ["SLURMD_NODENAME"], os.environ["SLURM_JOB_NODELIST"]
    except KeyError:
        raise UserError(
            "training.nodes: several nodes need Slurm (--profile slurm), or a Ray that spans them: start it and set "
            "RAY_ADDRESS."
        ) from None
    names = subprocess.check_output(["scontrol", "show", "hostnames", every], text=True).split()
    return [name for name in names if name != here]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _joined(address: str, environment: dict[str, str]) -> int:
    """How many nodes Ray has by now; 0 before it answers."""
    code = f"import ray; ray.init('{address}', logging_level='ERROR'); print(sum(n['Alive'] for n in ray.nodes()))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    return int(done.stdout.split()[-1]) if done.returncode == 0 and done.stdout.split() else 0


@contextmanager
def over_slurm(
    nodes: int, gpus: int, cpus: int, environment: dict[str, str], report: Callable[[str], None]
) -> Iterator[str]:
    """The address of a Ray over `nodes` nodes with `gpus` and `cpus` each, which lives as long as the block.

    environment: of Ray's processes. Raises UserError if the job has fewer nodes, or they do not join in time.
    """
    others = other_nodes()
    if len(others) + 1 < nodes:
        raise UserError(f"training.nodes: {nodes}, but this Slurm job has {len(others) + 1}.")
    address = f"{socket.gethostbyname(socket.gethostname())}:{_free_port()}"
    has = [f"--num-gpus={gpus}", f"--num-cpus={cpus}", "--block", "--disable-usage-stats"]
    host, port = address.split(":")
    step = ["srun", "--overlap", f"--nodes={nodes - 1}", f"--ntasks={nodes - 1}", "--ntasks-per-node=1"]
    step += [f"--nodelist={','.join(others[: nodes - 1])}", f"--cpus-per-task={cpus}"]
    with ExitStack() as stack:
        head = [RAY, "start", "--head", f"--node-ip-address={host}", f"--port={port}", "--include-dashboard=false"]
        running = [stack.enter_context(_running([*head, *has], environment))]
        running.append(stack.enter_context(_running([*step, RAY, "start", f"--address={address}", *has], environment)))
        deadline = time.monotonic() + SECONDS_TO_JOIN
        while (found := _joined(address, environment)) < nodes:
            if time.monotonic() > deadline or any(process.poll() is not None for process in running):
                raise UserError(
                    f"Ray has {found} of {nodes} nodes: look above in this log for what the others say, and whether "
                    f"they reach {address}."
                )
        report(f"Ray spans {nodes} nodes: {socket.gethostname()}, {', '.join(others[: nodes - 1])}")
        yield address
