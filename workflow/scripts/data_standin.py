"""Write the synthetic stand-in for OpenR1-Math."""

from pathlib import Path

from egpo.config.data import StandInSource
from egpo.runtime.job import job_context
from egpo.synthetic.standin import make_source

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    make_source(StandInSource.model_validate(snakemake.params.source), Path(snakemake.params.folder), report)
