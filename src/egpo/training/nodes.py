"""Ray on the nodes of a Slurm allocation, for a training on several of them (`training.nodes`).

The driver starts Ray's head on the first node. One `srun` starts a worker on each of the other nodes, under
egpo.runtime.guard, so that no SIGTERM reaches it and no process is left on the node.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from egpo.common.errors import UserError
from egpo.training.names import ADDRESS, RUN_FOLDER

JOB = "SLURM_JOB_ID"
SECONDS_TO_JOIN = 300


def _allocation() -> tuple[int, int]:
    """(nodes, CPUs of all nodes) of the Slurm job that this process is in, (1, 0) outside of one.

    Slurm is asked, because Snakemake's plugin passes on none of its variables but the job's id.
    """
    if JOB not in os.environ:
        return 1, 0
    command = ["squeue", "--noheader", "--jobs", os.environ[JOB], "--format", "%D %C"]
    nodes, cpus = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(nodes), int(cpus)


def check_nodes(nodes: int) -> None:
    """Check that this process can start or reach a Ray on `nodes` nodes.

    Raises:
        UserError: the Slurm job has another number of nodes, and there is no running Ray.
    """
    if nodes == 1 or ADDRESS in os.environ:
        return
    given, _ = _allocation()
    if given != nodes:
        raise UserError(
            f"training.nodes: {nodes} nodes, but this job has {given}. Run with --profile slurm, which asks Slurm for "
            f"them, or start a Ray that spans them and set {ADDRESS}."
        )


def _worker(address: str, nodes: int, gpus: int) -> list[str]:
    """The command that starts Ray on the allocation's other nodes."""
    others = nodes - 1
    step = [
        *("srun", "--overlap", "--relative=1", f"--nodes={others}", f"--ntasks={others}", "--ntasks-per-node=1"),
        f"--cpus-per-task={_allocation()[1] // nodes}",
        f"--gpus-per-node={gpus}",
    ]
    guard = [sys.executable, "-m", "egpo.runtime.guard", os.environ[RUN_FOLDER]]
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={address}", "--block"]
    return [*step, *guard, *start, f"--num-gpus={gpus}"]


def gather(nodes: int, gpus: int) -> subprocess.Popen[bytes]:
    """Join the allocation's other nodes to the Ray of this process, and wait for them.

    Args:
        nodes: of the allocation.
        gpus: of each node.

    Returns:
        srun's process. Keep it: the workers end when its standard input is closed.

    Raises:
        RuntimeError: a node did not join.
    """
    import ray  # takes seconds, and only a training on several nodes gets here

    srun = subprocess.Popen(
        _worker(ray.get_runtime_context().gcs_address, nodes, gpus), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + SECONDS_TO_JOIN
    while len(alive := [node for node in ray.nodes() if node["Alive"]]) < nodes:
        if srun.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(
                f"{len(alive)} of {nodes} nodes have joined Ray: the cause is in srun's output above, "
                f"or in session_latest/logs under {os.environ[RUN_FOLDER]} on the nodes"
            )
        time.sleep(1)
    names = ", ".join(sorted(node["NodeManagerHostname"] for node in alive))
    print(f"Ray spans {nodes} nodes ({names}), {gpus} GPUs each", flush=True)
    return srun
