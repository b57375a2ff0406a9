"""Whether this machine can do the experiment."""

import sys

from egpo.cli.doctor.examination import all_checks, examine
from egpo.cli.terminal import show
from egpo.config.experiment import Catalogue
from egpo.runtime.job import stage

with stage("doctor", snakemake.log[0]):
    checks = all_checks(
        catalogue=Catalogue.model_validate(snakemake.params.catalogue),
        config_files=snakemake.params.config_files,
        models=snakemake.params.models,
        folders=snakemake.params.folders,
        slurm=snakemake.params.slurm,
    )
    well = examine(checks, show)
if not well:
    sys.exit(1)
