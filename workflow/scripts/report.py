"""The report: everything in one HTML file."""

from pathlib import Path

from egpo.config.experiment import Catalogue
from egpo.report.page import write_report
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    write_report(
        catalogue=Catalogue.model_validate(snakemake.params.catalogue),
        models=[tuple(model) for model in snakemake.params.models],
        diagnosed=[tuple(model) for model in snakemake.params.diagnosed],
        files=[Path(file) for file in snakemake.input.files],
        template=Path(snakemake.input.template),
        out=Path(snakemake.output[0]),
    )
    report(snakemake.output[0])
