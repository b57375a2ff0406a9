"""The method's weights and advantages, drawn by its own functions."""

from pathlib import Path

from egpo.config import Method
from egpo.report.method_figure import method_figure
from egpo.stage import stage

with stage(snakemake.params.name, snakemake.log[0]) as report:
    out = Path(snakemake.output[0]).parent
    method_figure(Method.model_validate(snakemake.params.method), snakemake.params.rollouts, out)
    for file in snakemake.output:
        report(file)
