"""A benchmark from the Hugging Face Hub, as a folder that evalscope reads."""

from pathlib import Path

from egpo.config.benchmarks import HubBenchmark
from egpo.evaluation.fetch import fetch
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    source = HubBenchmark.model_validate(snakemake.params.source)
    fetch(source, Path(snakemake.params.folder), Path(snakemake.output[0]), report)
