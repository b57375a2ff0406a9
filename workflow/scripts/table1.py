"""Table 1 from the records of every model."""

from pathlib import Path

from egpo.config import Catalogue
from egpo.report.accuracy_tables import table1, write_table
from egpo.stage import stage

with stage(snakemake.params.name, snakemake.log[0]) as report:
    catalogue = Catalogue.model_validate(snakemake.params.catalogue)
    models = [tuple(model) for model in snakemake.params.models]
    records = dict(zip(models, map(Path, snakemake.input.records), strict=True))
    write_table(catalogue, table1(catalogue), records, Path(snakemake.output[0]).parent)
    for file in snakemake.output:
        report(file)
