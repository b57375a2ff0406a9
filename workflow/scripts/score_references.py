"""Reference answers through the scoring path of every benchmark: the ceiling and the floor of accuracies."""

from pathlib import Path

from egpo.config.benchmarks import Benchmark
from egpo.runtime.job import job_context
from egpo.runtime.without_torch import without_torch

with job_context(snakemake.params.name, snakemake.log[0]) as report, without_torch():
    from egpo.evaluation.references import score_references

    names = snakemake.params.benchmarks
    score_references(
        benchmarks={name: Benchmark.model_validate(values) for name, values in names.items()},
        folders={name: Path(folder) for name, folder in snakemake.params.folders.items()},
        out=Path(snakemake.output.records),
        report=report,
    )
