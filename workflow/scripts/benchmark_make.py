"""A synthetic benchmark in the format of a real one."""

from pathlib import Path

from egpo.config import Benchmark
from egpo.evaluation.synthetic import write_benchmark
from egpo.stage import stage

with stage(snakemake.params.name, snakemake.log[0]):
    write_benchmark(Benchmark.model_validate(snakemake.params.benchmark), Path(snakemake.output[0]).parent)
