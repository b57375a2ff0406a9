"""A synthetic backbone, warmed up until it solves some problems but not most."""

from pathlib import Path

from egpo.backbones.make import write_backbone
from egpo.config import Backbone
from egpo.stage import stage

with stage(snakemake.params.name, snakemake.log[0]) as report:
    backbone = Backbone.model_validate(snakemake.params.backbone)
    tokenizer = Path(snakemake.input[0]).parent
    write_backbone(backbone, tokenizer, Path(snakemake.params.model), Path(snakemake.output[0]), report)
