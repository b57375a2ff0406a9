"""A table, a figure or the report, as egpo.report.entries lists it."""

from pathlib import Path

from egpo.report.entries import ENTRIES
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    keys = snakemake.params.file_keys  # of inputs with several files
    files = {
        name: dict(zip(keys[name], map(Path, given), strict=True)) if name in keys else Path(given)
        for name, given in snakemake.input.items()
    }
    ENTRIES[snakemake.rule].write(snakemake.params.settings, files, Path(snakemake.output[0]).parent)
    for file in snakemake.output:
        report(file)
