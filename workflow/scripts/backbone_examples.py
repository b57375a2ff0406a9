"""Worked examples of a backbone's warm-up, from files or the Hugging Face Hub."""

from pathlib import Path

from egpo.backbones.examples import write_worked
from egpo.config.backbones import SupervisedWarmUp
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    write_worked(SupervisedWarmUp.model_validate(snakemake.params.warm_up), Path(snakemake.output[0]), report)
