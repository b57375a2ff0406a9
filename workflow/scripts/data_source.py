"""Fetch the source rows, read them from a user's files, or find them in a local folder."""

from pathlib import Path

from pydantic import TypeAdapter

from egpo.config.data import Source
from egpo.data.source import prepare
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    source = TypeAdapter(Source).validate_python(snakemake.params.source)
    prepare(source, Path(snakemake.params.folder), report)
