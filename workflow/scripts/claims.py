"""The paper's claims, tested on the records of this experiment."""

from pathlib import Path

from egpo.analysis.claims import write_claims
from egpo.config.experiment import Catalogue
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    catalogue = Catalogue.model_validate(snakemake.params.catalogue)
    models = [tuple(model) for model in snakemake.params.models]
    measures = dict(zip(models, map(Path, snakemake.input.measures), strict=True))
    write_claims(catalogue, Path(snakemake.input.comparisons), measures, Path(snakemake.output[0]).parent)
    for file in snakemake.output:
        report(file)
