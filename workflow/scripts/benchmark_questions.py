"""The questions of a benchmark, for the decontamination of the training data."""

from pathlib import Path

from egpo.config.benchmarks import Benchmark
from egpo.evaluation.questions import write_questions
from egpo.runtime.job import job_context

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    folder = Path(snakemake.params.folder) if snakemake.params.folder else None
    benchmark = Benchmark.model_validate(snakemake.params.benchmark)
    count = write_questions(snakemake.wildcards.benchmark, benchmark, folder, Path(snakemake.output[0]))
    report(f"{count} questions")
