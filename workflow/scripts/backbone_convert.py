"""A backbone from a GGUF file."""

from pathlib import Path

from egpo.backbones.convert import convert
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    convert(Path(snakemake.input[0]), Path(snakemake.params.model), Path(snakemake.output[0]), report)
