"""A backbone after a short supervised training on worked examples."""

from pathlib import Path

from egpo.backbones.warm_up import write_warm
from egpo.config.backbones import Backbone
from egpo.config.data import Data
from egpo.runtime.job import job_context

given = snakemake.input
with job_context(snakemake.params.name, snakemake.log[0]) as report:
    write_warm(
        Backbone.model_validate(snakemake.params.backbone),
        Path(snakemake.params.source),
        Path(given.examples),
        Path(given.validation),
        list(map(Path, given.apart)),
        dict(zip(snakemake.params.benchmarks, map(Path, given.questions), strict=True)),
        Data.model_validate(snakemake.params.data),
        Path(snakemake.params.model),
        Path(snakemake.output[0]),
        report,
    )
