"""Environment of a training on a CPU: what must be set before a process starts."""

from __future__ import annotations

import os

RUN_FOLDER = "EGPO_RUN_FOLDER"  # a folder of one training alone, with a short path


# Logical CPUs of a training's Ray: three that verl reserves for the actor, three for its other workers.
CPUS = 6


def cpu_environment() -> dict[str, str]:
    """Variables for all processes of a training on this machine's CPU."""
    cores = str(len(os.sched_getaffinity(0)))
    return {
        "VERL_PLATFORM": "cpu",
        "CUDA_VISIBLE_DEVICES": "0",  # the one logical GPU that Ray is started with
        "VLLM_TARGET_DEVICE": "cpu",
        # Ray would give each actor one thread. Actor and rollouts take turns, so each may use all cores.
        "OMP_NUM_THREADS": cores,
        # Idle threads sleep after some microseconds, not milliseconds: the cores are for the process whose turn it is.
        "GOMP_SPINCOUNT": "10000",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # else vLLM gives a CPU worker a process of its own
        "TQ_NUM_THREADS": cores,
        "TQ_CLIENT_ZMQ_IO_THREADS": "1",
        # Compiling costs minutes at the start and saves nothing on a tiny model.
        "TORCHDYNAMO_DISABLE": "1",
        # Ray starts a worker for each logical CPU at once, and each begins with the imports that all share,
        # while the driver does its own: actors then find a worker that is ready.
        "RAY_prestart_worker_first_driver": "1",
        "RAY_preload_python_modules": "egpo.verl_plugin.quick_start,verl",
    }


def own_socket(handle: str) -> str:
    """verl's socket for the transfer of weights, in a folder of this training alone.

    verl tells trainings apart by Ray's job number, which is 1 in every Ray that is started for one
    training: two trainings on one machine would take each other's weights.
    """
    return f"ipc://{os.environ[RUN_FOLDER]}/{handle.rsplit('/', 1)[1]}"
