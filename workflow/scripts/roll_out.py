"""Several responses of one model to every held-out problem, with the log-probability of each token."""

from pathlib import Path

from egpo.config.backbones import Backbone
from egpo.config.evaluation import Evaluation, Uncertainty
from egpo.runtime.gpus import reserve_gpus
from egpo.runtime.job import job_context
from egpo.runtime.lease import hold
from egpo.uncertainty.rollouts import roll_out

with (
    job_context(snakemake.params.name, snakemake.log[0]) as report,
    hold(Path(snakemake.params.work), report),
    reserve_gpus(snakemake.resources.gpu, report),
):
    roll_out(
        model=Path(snakemake.params.model),
        backbone=Backbone.model_validate(snakemake.params.backbone),
        problems=Path(snakemake.input.problems),
        settings=Evaluation.model_validate(snakemake.params.evaluation),
        uncertainty=Uncertainty.model_validate(snakemake.params.uncertainty),
        work=Path(snakemake.params.work),
        out=Path(snakemake.output.manifest).parent,
        code=snakemake.params.code,
        report=report,
    )
