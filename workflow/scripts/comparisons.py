"""Paired differences between models, from the records."""

from pathlib import Path

from egpo.analysis.comparisons import write_comparisons
from egpo.config.experiment import Catalogue
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    catalogue = Catalogue.model_validate(snakemake.params.catalogue)
    records, ablated = (
        dict(zip(map(tuple, models), map(Path, files), strict=True))
        for models, files in (
            (snakemake.params.models, snakemake.input.records),
            (snakemake.params.ablated, snakemake.input.ablated),
        )
    )
    write_comparisons(catalogue, records, ablated, Path(snakemake.output[0]).parent)
    for file in snakemake.output:
        report(file)
