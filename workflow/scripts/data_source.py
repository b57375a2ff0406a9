"""Write the synthetic stand-in, or fetch or point at the real dataset."""

from pathlib import Path

from pydantic import TypeAdapter

from egpo.config.data import Source
from egpo.data.source import prepare
from egpo.runtime.job import stage

with stage(snakemake.params.name, snakemake.log[0]) as report:
    source = TypeAdapter(Source).validate_python(snakemake.params.source)
    prepare(source, Path(snakemake.params.folder), report)
