"""Table 3 from the measures of every model."""

from pathlib import Path

from egpo.config.experiment import Catalogue
from egpo.report.tables.entropy import write_entropy_table
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    catalogue = Catalogue.model_validate(snakemake.params.catalogue)
    models = [tuple(model) for model in snakemake.params.models]
    measures = dict(zip(models, map(Path, snakemake.input.measures), strict=True))
    write_entropy_table(catalogue, measures, Path(snakemake.output[0]).parent)
    for file in snakemake.output:
        report(file)
