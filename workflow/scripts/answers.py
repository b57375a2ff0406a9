"""Lengths, several answers, losses and the second opinion, from the records."""

from pathlib import Path

from egpo.config.experiment import Catalogue
from egpo.report.tables.answers import write_answers
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    catalogue = Catalogue.model_validate(snakemake.params.catalogue)
    models = [tuple(model) for model in snakemake.params.models]
    records = dict(zip(models, map(Path, snakemake.input.records), strict=True))
    write_answers(catalogue, records, Path(snakemake.output[0]).parent)
    for file in snakemake.output:
        report(file)
