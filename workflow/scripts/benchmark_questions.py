"""The questions of every benchmark, for the decontamination of the training data."""

from pathlib import Path

from egpo.common.files import write_json
from egpo.config.benchmarks import Benchmark
from egpo.runtime.job import job_context
from egpo.runtime.without_torch import without_torch

with job_context(snakemake.params.name, snakemake.log[0]) as report, without_torch():
    from egpo.evaluation.questions import write_questions

    benchmarks, folders, counts = snakemake.params.benchmarks, snakemake.params.folders, {}
    for (name, values), file in zip(benchmarks.items(), map(Path, snakemake.output.questions), strict=True):
        counts[name] = write_questions(name, Benchmark.model_validate(values), Path(folders[name]), file)
        report(f"{name}: {counts[name]} questions")
    write_json(Path(snakemake.output.counts), counts)
