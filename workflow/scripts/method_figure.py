"""The method's weights and advantages, drawn by its own functions."""

from pathlib import Path

from egpo.config.methods import Method
from egpo.report.figures.method import method_figure
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    out = Path(snakemake.output[0]).parent
    method_figure(Method.model_validate(snakemake.params.method), snakemake.params.rollouts, out)
    for file in snakemake.output:
        report(file)
