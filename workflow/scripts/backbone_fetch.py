"""A backbone from the Hugging Face Hub."""

from pathlib import Path

from egpo.backbones.fetch import fetch
from egpo.config.backbones import HubModel
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    source = HubModel.model_validate(snakemake.params.source)
    fetch(source, Path(snakemake.params.model), Path(snakemake.output[0]), report)
