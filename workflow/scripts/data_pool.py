"""From the source rows to the training pool."""

from pathlib import Path

from egpo.config import Data
from egpo.data.build import build
from egpo.stage import stage

with stage(snakemake.params.name, snakemake.log[0]) as report:
    data = Data.model_validate(snakemake.params.data)
    source, out = Path(snakemake.input.source).parent, Path(snakemake.output.manifest).parent
    build(data, source, Path(snakemake.params.tokenizer), out, snakemake.params.note, report)
