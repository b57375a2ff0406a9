"""Ray over the nodes of a Slurm allocation, for a training on several of them (`training.nodes`).

The head is the Ray that the driver starts, on the allocation's first node. One `srun` starts a worker on each of the
others, under a guard (egpo.runtime.guard), so that no SIGTERM reaches it and nothing stays behind on its node.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import ray

from egpo.common.errors import UserError

RUN_FOLDER = "EGPO_RUN_FOLDER"  # a folder of one training alone, with a short path
ADDRESS, JOB = "RAY_ADDRESS", "SLURM_JOB_ID"
SECONDS_TO_JOIN = 300


def _allocation() -> tuple[int, int]:
    """(nodes, CPUs of them all) of the Slurm job that this process is in, (1, 0) outside of one.

    Asked of Slurm, since of all its variables Snakemake's plugin hands on the job's number alone.
    """
    if JOB not in os.environ:
        return 1, 0
    command = ["squeue", "--noheader", "--jobs", os.environ[JOB], "--format", "%D %C"]
    nodes, cpus = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(nodes), int(cpus)


def check_nodes(nodes: int) -> None:
    """Raise UserError unless this process can have a Ray over so many nodes."""
    if nodes == 1 or ADDRESS in os.environ:
        return
    given, _ = _allocation()
    if given != nodes:
        raise UserError(
            f"training.nodes: {nodes} nodes, but this job has {given}. Run with --profile slurm, which asks Slurm for "
            f"them, or start a Ray that spans them and set {ADDRESS}."
        )


def _worker(address: str, nodes: int, gpus: int) -> list[str]:
    """The command that starts Ray on all nodes of the allocation but this one."""
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

    gpus: of each node. Returns srun, which must be kept: the workers end with its standard input. Raises RuntimeError
    if a node does not join.
    """
    srun = subprocess.Popen(
        _worker(ray.get_runtime_context().gcs_address, nodes, gpus), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + SECONDS_TO_JOIN
    while len(alive := [node for node in ray.nodes() if node["Alive"]]) < nodes:
        if srun.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(
                f"{len(alive)} of {nodes} nodes have joined Ray: srun's words above are the cause, "
                f"or see session_latest/logs under {os.environ[RUN_FOLDER]} on the nodes"
            )
        time.sleep(1)
    names = ", ".join(sorted(node["NodeManagerHostname"] for node in alive))
    print(f"Ray spans {nodes} nodes ({names}), {gpus} GPUs each", flush=True)
    return srun
