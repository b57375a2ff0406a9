"""The data funnel as a figure."""

from pathlib import Path

from egpo.report.figures.funnel import funnel_figure
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    funnel_figure(Path(snakemake.input[0]), snakemake.params.note, Path(snakemake.output[0]).parent)
    for file in snakemake.output:
        report(file)
