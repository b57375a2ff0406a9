"""Figures 3 and 5 to 9 from the measures of every model."""

from pathlib import Path

from egpo.config.experiment import Catalogue
from egpo.report.figures.entropy import write_entropy_figures
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    catalogue = Catalogue.model_validate(snakemake.params.catalogue)
    models = [tuple(model) for model in snakemake.params.models]
    measures = dict(zip(models, map(Path, snakemake.input.measures), strict=True))
    write_entropy_figures(catalogue, measures, Path(snakemake.output[0]).parent)
    for file in snakemake.output:
        report(file)
