# Configuration, names of the experiment's parts, and what the rules share.
import atexit
import os
import re
import sys
from contextlib import ExitStack
from pathlib import Path

from snakemake.exceptions import WorkflowError

from egpo.cli.check import load_checked
from egpo.common.errors import UserError
from egpo.common.paths import BASE, ROOT, Paths, wildcards_of
from egpo.common.provenance import code_version, stage_code
from egpo.config.files import DEFAULT_CONFIG, read_files
from egpo.config.matrix import (
    backbones_of,
    benchmarks_of,
    decontamination_benchmarks,
    diagnosed_models,
    every_benchmark,
    evaluated_models,
    milestone_benchmarks,
    milestone_steps,
    milestones_of,
    table2_models,
    trained_models,
)
from egpo.runtime import hub, lease, slurm_commands

# Inherited by every job. By default OpenMP's idle threads spin for milliseconds, and so take the cores from the
# other processes of a job; this makes them sleep after some microseconds.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def read_experiment():
    """The experiment that --configfile names, or the demo; its errors stop Snakemake before any job."""
    files = [str(path) for path in workflow.overwrite_configfiles] or [DEFAULT_CONFIG]
    given = ["--config"] if workflow.config_settings.config else []
    try:
        values = read_files(files)  # for a key that stands twice: Snakemake's own reader takes the last
        if not workflow.overwrite_configfiles:
            config.update({**values, **config})
        return load_checked(config, " + ".join([*files, *given]))
    except UserError as error:
        raise WorkflowError(str(error)) from None


CATALOGUE = read_experiment()
EXPERIMENT = CATALOGUE.experiment
PATHS = Paths(EXPERIMENT.experiment)


slurm_commands.put_first()
hub.forbid()
# Snakemake's commands do not quote the interpreter's path (snakemake/snakemake#2645); from here it has no blank.
if " " in sys.executable:
    sys.executable = os.path.relpath(sys.executable)


DRIVER = ExitStack()
atexit.register(DRIVER.close)


def be_the_driver():
    """One Snakemake at a time runs an experiment. It is no use to wait for another: it does what this one would."""
    try:
        DRIVER.enter_context(
            lease.hold(
                PATHS.root / "driver",
                lambda line: print(line, file=sys.stderr),
                lambda entry: f"{lease.describe(entry)} runs this experiment already: wait for it, or end it. "
                "`egpo status CONFIG` shows how far it is.",
            )
        )
    except UserError as error:
        raise WorkflowError(str(error)) from None


wildcard_constraints:
    backbone="|".join(map(re.escape, CATALOGUE.backbones)),
    method="|".join(map(re.escape, [BASE, *CATALOGUE.methods])),
    seed=r"\d+",
    benchmark="|".join(map(re.escape, CATALOGUE.benchmarks)),
    step=r"\d+",


# Of the long jobs, which take all cores of a small machine: between two of them a short job would leave a core idle.
# At the end, short jobs run side by side.
FIRST = 1


def plain(model):
    """A section of the configuration as plain values: Snakemake stores and compares them as params."""
    return model.model_dump(mode="json")


def source_model(backbone):
    """Folder of the weights before a warm-up: made or fetched by a rule, or the user's own."""
    source = CATALOGUE.backbones[backbone].source
    return str(source.path) if source.kind == "local" else str(PATHS.backbone(backbone) / "model")


def source_ready(backbone):
    """What a job that reads the weights before a warm-up waits for."""
    source = CATALOGUE.backbones[backbone].source
    return (
        str(ROOT / source.path / "config.json")
        if source.kind == "local"
        else str(PATHS.backbone(backbone) / "manifest.json")
    )


def backbone_model(backbone):
    """Folder of the weights that trainings and evaluations start from."""
    warm = CATALOGUE.backbones[backbone].warm_up is not None
    return str(PATHS.warm(backbone) / "model") if warm else source_model(backbone)


def backbone_ready(backbone):
    """What a job that reads these weights waits for."""
    warm = CATALOGUE.backbones[backbone].warm_up is not None
    return str(PATHS.warm(backbone) / "manifest.json") if warm else source_ready(backbone)


def tokenizer_folder(backbone):
    """Where a backbone's tokenizer lies: before the warm-up, which needs the data."""
    source = CATALOGUE.backbones[backbone].source
    return str(PATHS.tokenizer(backbone)) if source.kind == "synthetic" else source_model(backbone)


def tokenizer_ready(backbone):
    source = CATALOGUE.backbones[backbone].source
    return str(PATHS.tokenizer(backbone) / "tokenizer.json") if source.kind == "synthetic" else source_ready(backbone)
