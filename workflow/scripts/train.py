"""One training by verl: one backbone, one method, one seed."""

from pathlib import Path

from egpo.config.backbones import Backbone
from egpo.config.methods import Method
from egpo.config.training import Training
from egpo.runtime.gpus import reserve_gpus
from egpo.runtime.job import job_context
from egpo.runtime.lease import hold
from egpo.training.limits import Limits
from egpo.training.run import run
from egpo.training.trackers import Tracked

with (
    job_context(snakemake.params.name, snakemake.log[0]) as report,
    hold(Path(snakemake.params.folder) / "work", report),
    reserve_gpus(snakemake.resources.gpu, report),
):
    asked = snakemake.resources
    unhashed = {name: asked[name] for name in ("save_freq", "sample_groups", "gpu_gib")}  # they do not change results
    given, chosen = snakemake.config, snakemake.wildcards
    seed = int(chosen.seed)
    run(
        training=Training.model_validate(snakemake.params.training | unhashed),
        method=Method.model_validate(snakemake.params.method),
        backbone=Backbone.model_validate(snakemake.params.backbone),
        model=Path(snakemake.params.model),
        train_file=Path(snakemake.input.train),
        validation_file=Path(snakemake.input.validation),
        seed=seed,
        out=Path(snakemake.params.folder),
        code=snakemake.params.code,
        milestones=[int(Path(file).stem.removeprefix("step-")) for file in snakemake.output.milestones],
        memory_gib=asked.mem_mb / 1024,
        limits=Limits(time=asked.minutes * 60, grace=asked.grace_minutes * 60, stall=asked.stall_seconds),
        tracked=Tracked.of(given.get("trackers", ()), given["experiment"], chosen.backbone, chosen.method, seed),
        report=report,
    )
