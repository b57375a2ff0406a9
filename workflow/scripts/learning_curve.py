"""Reward by training step, for every method."""

from pathlib import Path

from egpo.config.experiment import Catalogue
from egpo.report.figures.learning_curve import learning_curve
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    models = [tuple(model) for model in snakemake.params.models]
    metrics = dict(zip(models, map(Path, snakemake.input), strict=True))
    learning_curve(Catalogue.model_validate(snakemake.params.catalogue), metrics, Path(snakemake.output[0]).parent)
    for file in snakemake.output:
        report(file)
