"""From the source rows to the training pool."""

from pathlib import Path

from egpo.config.data import Data
from egpo.runtime.job import job_context
from egpo.runtime.lease import hold
from egpo.runtime.without_torch import without_torch

out = Path(snakemake.output.manifest).parent
with job_context(snakemake.params.name, snakemake.log[0]) as report, hold(out / "work", report), without_torch():
    from egpo.data.build import build

    build(
        Data.model_validate(snakemake.params.data),
        Path(snakemake.input.source).parent,
        Path(snakemake.params.tokenizer),
        dict(zip(snakemake.params.benchmarks, map(Path, snakemake.input.questions), strict=True)),
        out,
        snakemake.threads,
        report,
    )
