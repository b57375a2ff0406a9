"""Tokenizer of a synthetic backbone."""

from pathlib import Path

from egpo.backbones.make import write_tokenizer
from egpo.config import Backbone
from egpo.stage import stage

with stage(snakemake.params.name, snakemake.log[0]):
    write_tokenizer(Backbone.model_validate(snakemake.params.backbone), Path(snakemake.output[0]).parent)
