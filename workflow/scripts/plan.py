"""What `all` would run now, for how long, and what will not fit."""

from egpo.cli.plan import plan
from egpo.cli.terminal import show
from egpo.config.experiment import Catalogue
from egpo.runtime.job import stage

with stage("plan", snakemake.log[0]):
    text = plan(
        catalogue=Catalogue.model_validate(snakemake.params.catalogue),
        evaluated={tuple(model): names for model, names in snakemake.params.evaluated},
        config_files=snakemake.params.config_files,
        given=snakemake.params.given,
    )
    show(text)
