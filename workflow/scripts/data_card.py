"""The dataset card of the pool, and its funnel."""

from pathlib import Path

from egpo.data.card import write_card
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    inputs = snakemake.input
    out = Path(snakemake.output.card).parent
    write_card(Path(inputs.flags), Path(inputs.manifest), Path(inputs.examples), snakemake.params.note, out)
    report(snakemake.output.card)
