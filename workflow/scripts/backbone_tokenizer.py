"""Tokenizer of a synthetic backbone."""

from pathlib import Path

from egpo.config.backbones import Backbone
from egpo.runtime.job import job_context
from egpo.runtime.without_torch import without_torch

with job_context(snakemake.params.name, snakemake.log[0]), without_torch():
    from egpo.synthetic.tokenizer import make_tokenizer

    backbone = Backbone.model_validate(snakemake.params.backbone)
    tokenizer = make_tokenizer(backbone.thinks, backbone.source.seed, backbone.max_model_len)
    tokenizer.save_pretrained(Path(snakemake.output[0]).parent)
