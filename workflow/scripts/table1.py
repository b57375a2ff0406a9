"""Table 1 from the records of every model."""

from pathlib import Path

from egpo.config import Catalogue
from egpo.report.table1 import table1
from egpo.stage import stage

with stage(snakemake.params.name, snakemake.log[0]) as report:
    models = [tuple(model) for model in snakemake.params.models]
    records = dict(zip(models, map(Path, snakemake.input), strict=True))
    table1(Catalogue.model_validate(snakemake.params.catalogue), records, Path(snakemake.output[0]).parent)
    for file in snakemake.output:
        report(file)
