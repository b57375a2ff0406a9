"""One problem that training changed most, with a response of every model."""

from pathlib import Path

from egpo.config.experiment import Catalogue
from egpo.report.tables.case_study import write_case_study
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    catalogue = Catalogue.model_validate(snakemake.params.catalogue)
    models = [tuple(model) for model in snakemake.params.models]
    rollouts = dict(zip(models, map(Path, snakemake.input.rollouts), strict=True))
    write_case_study(catalogue, rollouts, Path(snakemake.input.problems), Path(snakemake.output[0]))
    report(snakemake.output[0])
