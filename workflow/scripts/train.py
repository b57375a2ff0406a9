"""One training by verl: of one backbone, with one method, from one seed."""

from pathlib import Path

from egpo.config import Backbone, Method, Training
from egpo.stage import stage
from egpo.training.run import run

with stage(snakemake.params.name, snakemake.log[0]) as report:
    run(
        training=Training.model_validate(snakemake.params.training),
        method=Method.model_validate(snakemake.params.method),
        backbone=Backbone.model_validate(snakemake.params.backbone),
        model=Path(snakemake.params.model),
        train_file=Path(snakemake.input.train),
        validation_file=Path(snakemake.input.validation),
        seed=int(snakemake.wildcards.seed),
        out=Path(snakemake.params.folder),
        code=snakemake.params.code,
        report=report,
    )
