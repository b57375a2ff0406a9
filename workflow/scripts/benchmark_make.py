"""Every synthetic benchmark, in the format of a real one."""

from pathlib import Path

from egpo.common.files import write_json
from egpo.config.benchmarks import Benchmark
from egpo.runtime.job import job_context
from egpo.synthetic.benchmark import write_benchmark

with job_context(snakemake.params.name, snakemake.log[0]) as report:
    benchmarks = {name: Benchmark.model_validate(values) for name, values in snakemake.params.benchmarks.items()}
    for benchmark, card in zip(benchmarks.values(), snakemake.output.cards, strict=True):
        write_benchmark(benchmark, Path(card).parent)
    counts = {name: benchmark.num_questions for name, benchmark in benchmarks.items()}
    write_json(Path(snakemake.output.counts), counts)
    report(f"{sum(counts.values())} questions in {len(counts)} benchmarks")
