"""What follows from the paper's printed numbers, and what does not."""

from pathlib import Path

from egpo.analysis.audit import write_audit
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    write_audit(Path(snakemake.input[0]), Path(snakemake.output[0]).parent)
    for file in snakemake.output:
        report(file)
