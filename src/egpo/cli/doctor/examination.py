"""Whether a machine can do an experiment, before hours are spent: `snakemake doctor`.

Each check is tried for real where that takes seconds; what a check found is judged by a function of its own, without
the machine. Nothing is left behind.
"""

from __future__ import annotations

import shlex
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from egpo.cli.doctor import engines, inputs, machine
from egpo.cli.doctor import slurm as cluster
from egpo.cli.doctor.finding import Finding, failed, warning
from egpo.common.paths import Paths
from egpo.config.experiment import Catalogue

Check = Callable[[], Finding | list[Finding]]
RESULTS = Path("results")


def all_checks(
    catalogue: Catalogue,
    config_files: list[str],
    models: dict[str, str],
    folders: dict[str, str | None],
    slurm: bool,
) -> Iterator[tuple[str, Check]]:
    """Every check of this experiment, in order: the quick ones first, vLLM last."""
    experiment, paths = catalogue.experiment, Paths(catalogue.experiment.experiment)
    needs, cuda = machine.needs_of(catalogue), machine.needs_cuda(catalogue)

    def command(target: object) -> str:
        return f"snakemake --cores 1 {target} --configfile {shlex.join(config_files)}"

    gpus = machine.read_gpus() if cuda else []
    # A login node need not be able to compute: the compute nodes are.
    login = cuda and not gpus and bool(shutil.which("sinfo"))

    yield "packages", lambda: machine.packages(cuda)
    yield "C compiler", lambda: machine.compiler(cuda)
    if not login:
        yield "cores and memory", lambda: machine.capacity(needs)
        yield "/dev/shm", lambda: machine.shared_memory(cuda)
        yield "/tmp", machine.temporary
    yield "results/", lambda: machine.results(RESULTS, machine.least_disk(catalogue))
    if login:
        yield "GPUs", lambda: on_a_node(needs, command("doctor"))
    elif cuda:
        yield "GPUs", lambda: machine.judge_gpus(gpus, needs, experiment.training.gpu_gib)
        attentions = {experiment.of(name).training.attention for name in experiment.backbones}
        yield "torch", lambda: machine.torch_sees_gpus(attentions)
    for name, backbone in catalogue.backbones.items():
        place, target = Path(models[name]), paths.backbone(name) / "manifest.json"
        yield f"model {name}", partial(inputs.model, name, backbone, place, target, command(target))
    target = paths.source / "manifest.json"
    yield "data", lambda: inputs.data(experiment.data, target, command(target))
    yield "benchmarks", lambda: inputs.benchmarks(catalogue.benchmarks, folders, paths)
    yield "judges", lambda: inputs.judges(catalogue.benchmarks)
    yield "Slurm", lambda: cluster.cluster(needs, slurm)
    yield "verl", lambda: engines.verl_takes(catalogue, models)
    if not cuda or gpus:
        yield "vLLM", lambda: engines.vllm_answers(experiment.of(experiment.backbones[0]).evaluation)


def on_a_node(needs: list[machine.Need], command: str) -> Finding:
    """GPUs, memory and vLLM cannot be tried on a login node: how to do so on a compute node."""
    most = max(needs, key=lambda need: need.gpus)
    srun = f"srun --gpus={most.gpus} --cpus-per-task={most.cpus} --mem={most.memory_gib}G"
    return warning("GPUs", "none on this node, and vLLM not tried", f"On a compute node: {srun} {command}")


def examine(checks: Iterator[tuple[str, Check]], show: Callable[[str], None]) -> bool:
    """Run the checks and show a line on each finding; whether none has failed."""
    count: Counter[str] = Counter()
    for name, check in checks:
        try:
            found = check()
        except Exception as error:  # a check that breaks must not keep the others from their turn
            traceback.print_exc()
            found = failed(name, f"the check broke ({type(error).__name__}: {error})", engines.LOG)
        for finding in found if isinstance(found, list) else [found]:
            count[finding.state] += 1
            show(finding.line())
    show(f"{count['ok']} ok, {count['warning']} warnings, {count['FAILED']} failed")
    return not count["FAILED"]
