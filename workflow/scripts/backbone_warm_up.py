"""A synthetic backbone, warmed up until it solves some problems but not most."""

from pathlib import Path

from egpo.config.backbones import Backbone
from egpo.runtime.job import job_context
from egpo.synthetic.backbone import write_backbone

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    backbone = Backbone.model_validate(snakemake.params.backbone)
    tokenizer = Path(snakemake.input[0]).parent
    write_backbone(backbone, tokenizer, Path(snakemake.params.model), Path(snakemake.output[0]), report)
