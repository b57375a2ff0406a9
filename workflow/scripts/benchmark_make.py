"""A synthetic benchmark in the format of a real one."""

from pathlib import Path

from egpo.config.benchmarks import Benchmark
from egpo.runtime.job import job_context
from egpo.synthetic.benchmark import write_benchmark

with job_context(snakemake.params.name, snakemake.log[0]):
    write_benchmark(Benchmark.model_validate(snakemake.params.benchmark), Path(snakemake.output[0]).parent)
