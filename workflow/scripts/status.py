"""How far the experiment is."""

from egpo.config import Catalogue
from egpo.operations.status import status
from egpo.operations.terminal import show
from egpo.stage import stage

with stage("status", snakemake.log[0]):
    text = status(
        catalogue=Catalogue.model_validate(snakemake.params.catalogue),
        evaluated={tuple(model): names for model, names in snakemake.params.evaluated},
        trained=[tuple(model) for model in snakemake.params.trained],
        diagnosed=[tuple(model) for model in snakemake.params.diagnosed],
        rules=snakemake.params.rules,
    )
    show(text)
