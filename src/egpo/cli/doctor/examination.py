"""Whether a machine can run an experiment, before hours are spent: `egpo doctor`.

Each check is tried in earnest where that takes seconds; what it found is assessed by a separate function, without the
machine. Nothing but a log is left behind.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from egpo.cli.doctor import engines, gpus, inputs, machine, models, software
from egpo.cli.doctor import slurm as cluster
from egpo.cli.doctor.finding import Finding, failed, warning
from egpo.cli.doctor.needs import Need, needs_cuda, needs_of
from egpo.common.paths import Paths
from egpo.config.backbones import LocalModel
from egpo.config.experiment import Catalogue

Check = Callable[[], Finding | list[Finding]]
RESULTS = Path("results")


def model_folders(catalogue: Catalogue) -> dict[str, Path]:
    """Where the weights of each backbone are, or will be."""
    paths, found = Paths(catalogue.experiment.experiment), {}
    for name, backbone in catalogue.backbones.items():
        source = backbone.source
        found[name] = source.path if isinstance(source, LocalModel) else paths.backbone(name) / "model"
    return found


def all_checks(catalogue: Catalogue, files: list[str], slurm: bool) -> Iterator[tuple[str, Check]]:
    """Every check of an experiment by its name, in order: the quick ones first, vLLM last.

    Args:
        catalogue: the experiment.
        files: its configuration files, for the commands in remedies.
        slurm: whether it will run with the profile slurm.
    """
    experiment, paths, folders = catalogue.experiment, Paths(catalogue.experiment.experiment), model_folders(catalogue)
    needs, cuda = needs_of(catalogue), needs_cuda(catalogue)
    configuration = shlex.join(files)
    fetch = f"egpo fetch {configuration}"

    found = gpus.read_gpus() if cuda else []
    # A login node need not be able to compute: the compute nodes are.
    login = cuda and not found and bool(shutil.which("sinfo"))

    yield "packages", lambda: software.packages(cuda)
    yield "bytecode", software.bytecode
    yield "C compiler", lambda: software.compiler(cuda)
    if experiment.trackers:
        yield "trackers", lambda: software.trackers(experiment.trackers)
    if not login:
        yield "cores and memory", lambda: machine.capacity(needs)
        yield "/dev/shm", lambda: machine.shared_memory(cuda)
        yield "temporary folder", machine.temporary
    yield "results/", lambda: machine.results(RESULTS, machine.least_disk(catalogue))
    if login:
        yield "GPUs", lambda: on_a_node(needs, f"egpo doctor {configuration}")
    elif cuda:
        yield "GPUs", lambda: gpus.assess_gpus(found, needs, experiment.training.gpu_gib)
        attentions: set[str] = {experiment.of(name).training.attention for name in experiment.backbones}
        yield "torch", lambda: gpus.torch_sees_gpus(attentions)
    for name, backbone in catalogue.backbones.items():
        target = paths.output("backbone_fetch", backbone=name)
        yield f"model {name}", partial(models.model, name, backbone, folders[name], target, fetch)
    source = paths.output("data_source")
    yield "data", lambda: inputs.data(experiment.data, source, fetch)
    yield "benchmarks", lambda: inputs.benchmarks(catalogue.benchmarks, paths, fetch)
    yield "judges", lambda: inputs.judges(catalogue.benchmarks)
    yield "Slurm", lambda: cluster.cluster(needs, slurm)
    yield "verl", lambda: engines.verl_accepts(catalogue, folders)
    if not cuda or found:
        yield "vLLM", lambda: engines.vllm_answers(experiment.of(experiment.backbones[0]).evaluation)


def on_a_node(needs: list[Need], command: str) -> Finding:
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
        except Exception as error:  # a check that breaks must not stop the others
            traceback.print_exc()
            found = failed(name, f"the check broke ({type(error).__name__}: {error})", engines.LOG)
        for finding in found if isinstance(found, list) else [found]:
            count[finding.state] += 1
            show(finding.line())
    show(f"{count['ok']} ok, {count['warning']} warnings, {count['FAILED']} failed")
    return not count["FAILED"]


# --- the command -------------------------------------------------------------------------------------


def _open_log(experiment: str) -> tuple[int, str]:
    """Descriptor and name of the log; below /tmp where results/ cannot be written, which the doctor then says."""
    log = Paths(experiment).root / "logs" / "doctor.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), str(log)
    except OSError:
        return tempfile.mkstemp(prefix="egpo-doctor-", suffix=".log")


@contextmanager
def _output_to(log: int) -> Iterator[Callable[[str], None]]:
    """Send the output of this process and its children to `log`; yields what prints a line on standard output."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        with os.fdopen(os.dup(before[0]), "w", errors="replace") as page:
            yield lambda line: print(line, file=page, flush=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(before, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def doctor(catalogue: Catalogue, files: list[str], slurm: bool) -> bool:
    """Print a line on each finding, while the output of vLLM, verl and others goes to a log.

    Args:
        catalogue: the experiment.
        files: its configuration files.
        slurm: whether it will run with the profile slurm.

    Returns:
        Whether no check has failed.
    """
    log, name = _open_log(catalogue.experiment.experiment)
    with os.fdopen(log, "w"), _output_to(log) as show:
        well = examine(all_checks(catalogue, files, slurm), show)
        show(f"Log: {name}")
    return well
