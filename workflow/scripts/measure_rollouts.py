"""Entropies and lengths of every rollout of one model."""

from pathlib import Path

from egpo.common.files import atomic_path
from egpo.runtime.job import job_context
from egpo.uncertainty.measures import measure_rollouts

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    table = measure_rollouts(Path(snakemake.input[0]))
    with atomic_path(Path(snakemake.output[0])) as temporary:
        table.to_parquet(temporary, index=False)
    report(f"{len(table)} rollouts of {table['problem'].nunique()} problems")
