"""Several responses of one model to every held-out problem, with the log-probability of each token."""

from pathlib import Path

from egpo.config import Backbone, Evaluation, Uncertainty
from egpo.operations.gpus import own as own_gpus
from egpo.operations.lease import hold
from egpo.stage import stage
from egpo.uncertainty.rollouts import roll_out

with (
    stage(snakemake.params.name, snakemake.log[0]) as report,
    hold(Path(snakemake.params.work), report),
    own_gpus(snakemake.resources.gpu, report),
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
