"""Environment variables and verl's settings of a training on a CPU. Trainings on GPUs do not depend on this code."""

from __future__ import annotations

import os
from typing import Any

from egpo.training.names import ACTOR, ROLLOUT

# Logical CPUs of a training's Ray: verl reserves three for the actor, and three for its other workers.
CPUS = 6


def cpu_environment() -> dict[str, str]:
    """Environment variables for all processes of a training on this machine's CPU."""
    # Snakemake sets OMP_NUM_THREADS to the `cpus` of a job: trainings that share a machine share its cores.
    cores = os.environ.get("OMP_NUM_THREADS") or str(len(os.sched_getaffinity(0)))
    return {
        "VERL_PLATFORM": "cpu",
        "CUDA_VISIBLE_DEVICES": "0",  # the one logical GPU that Ray is started with
        "VLLM_TARGET_DEVICE": "cpu",
        # Ray gives each actor one thread by default. Actor and rollouts take turns, so each may use all cores.
        "OMP_NUM_THREADS": cores,
        # Idle threads sleep after microseconds, not milliseconds, so that the other processes get the cores.
        "GOMP_SPINCOUNT": "10000",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # else vLLM starts another process for a CPU worker
        "TQ_NUM_THREADS": cores,
        "TQ_CLIENT_ZMQ_IO_THREADS": "1",
        # Compiling takes minutes at the start and makes a tiny model no faster.
        "TORCHDYNAMO_DISABLE": "1",
    }


def cpu_settings(longest: int, cache_bytes: int) -> dict[str, Any]:
    """verl's settings by dotted key: one process of each kind, float32, nothing that a CPU build lacks.

    egpo.verl_plugin.cpu.platform does the rest.

    Args:
        longest: tokens of a prompt and its response, at most.
        cache_bytes: of vLLM's cache.
    """
    return {
        "trainer.device": "cpu",
        f"{ROLLOUT}.tensor_model_parallel_size": 1,
        "ray_kwargs.ray_init.num_cpus": CPUS,
        "ray_kwargs.ray_init.num_gpus": 1,
        "ray_kwargs.ray_init.object_store_memory": 2**29,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
        "data.dataloader_num_workers": 0,
        "reward.num_workers": 0,  # rewards are computed in vLLM's server (egpo.verl_plugin.cpu.rollouts)
        # verl's bf16 would make the actor's log-probabilities differ from the rollout's.
        f"{ACTOR}.fsdp_config.mixed_precision": {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"},
        f"{ACTOR}.fsdp_config.use_torch_compile": False,
        f"{ACTOR}.use_torch_compile": False,
        # Entropies of some rows at a time: else they take three copies of all logits.
        f"{ACTOR}.fsdp_config.entropy_from_logits_with_chunking": True,
        f"{ROLLOUT}.dtype": "float32",
        f"{ROLLOUT}.enforce_eager": True,
        # vLLM would end when it divides the prompt of a request that has a seed (see egpo.inference.engine).
        f"{ROLLOUT}.enable_chunked_prefill": False,
        f"{ROLLOUT}.max_num_batched_tokens": max(8192, longest),  # verl's, unless a prompt would not fit
        f"{ROLLOUT}.enable_sleep_mode": False,
        f"{ROLLOUT}.free_cache_engine": False,
        f"{ROLLOUT}.engine_kwargs.vllm": {
            "worker_extension_cls": "egpo.verl_plugin.cpu.worker.CpuWorkerExtension",
            "kv_cache_memory_bytes": cache_bytes,
            "distributed_executor_backend": "uni",  # the model runs in the engine's process
        },
    }
