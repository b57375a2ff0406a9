"""verl's settings of every training, checked and written out."""

from pathlib import Path

from egpo.config.experiment import Catalogue
from egpo.runtime.job import job_context
from egpo.training.settings_files import write_settings

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    models = {(backbone, method, seed): Path(model) for backbone, method, seed, model in snakemake.params.models}
    write_settings(
        Catalogue.model_validate(snakemake.params.catalogue),
        models,
        tuple(map(Path, snakemake.params.files)),
        Path(snakemake.output[0]).parent,
        report,
    )
