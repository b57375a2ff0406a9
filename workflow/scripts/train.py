"""One training by verl: of one backbone, with one method, from one seed."""

from pathlib import Path

from egpo.config.backbones import Backbone
from egpo.config.methods import Method
from egpo.config.training import Training
from egpo.runtime.gpus import own as own_gpus
from egpo.runtime.job import job_context
from egpo.runtime.lease import hold
from egpo.training.limits import Limits
from egpo.training.run import run

with (
    job_context(snakemake.params.name, snakemake.log[0]) as report,
    hold(Path(snakemake.params.folder) / "work", report),
    own_gpus(snakemake.resources.gpu, report),
):
    asked = snakemake.resources
    own = {"save_freq": asked.save_freq, "gpu_gib": asked.gpu_gib}
    run(
        training=Training.model_validate(snakemake.params.training | own),
        method=Method.model_validate(snakemake.params.method),
        backbone=Backbone.model_validate(snakemake.params.backbone),
        model=Path(snakemake.params.model),
        train_file=Path(snakemake.input.train),
        validation_file=Path(snakemake.input.validation),
        seed=int(snakemake.wildcards.seed),
        out=Path(snakemake.params.folder),
        code=snakemake.params.code,
        limits=Limits(time=asked.minutes * 60, grace=asked.grace_minutes * 60, stall=asked.stall_seconds),
        report=report,
    )
