"""How far the experiment is."""

from egpo.cli.status import status
from egpo.cli.terminal import show
from egpo.config.experiment import Catalogue
from egpo.runtime.job import stage

with stage("status", snakemake.log[0]):
    text = status(
        catalogue=Catalogue.model_validate(snakemake.params.catalogue),
        evaluated={tuple(model): names for model, names in snakemake.params.evaluated},
        trained=[tuple(model) for model in snakemake.params.trained],
        diagnosed=[tuple(model) for model in snakemake.params.diagnosed],
        rules=snakemake.params.rules,
    )
    show(text)
