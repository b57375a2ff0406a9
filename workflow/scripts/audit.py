"""What follows from the paper's printed numbers, and what does not."""

from pathlib import Path

from egpo.analysis.audit import write_audit
from egpo.runtime.job import stage

with stage(snakemake.params.name, snakemake.log[0]) as report:
    write_audit(Path(snakemake.input[0]), Path(snakemake.output[0]).parent)
    for file in snakemake.output:
        report(file)
