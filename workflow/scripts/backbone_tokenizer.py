"""Tokenizer of a synthetic backbone."""

from pathlib import Path

from egpo.config.backbones import Backbone
from egpo.runtime.job import job_context
from egpo.synthetic.backbone import write_tokenizer

with job_context(snakemake.params.name, snakemake.log[0]):
    write_tokenizer(Backbone.model_validate(snakemake.params.backbone), Path(snakemake.output[0]).parent)
