"""Every benchmark and seed of one model, through evalscope with vLLM behind it; then its rollouts, if it has any."""

from pathlib import Path

from egpo.config.backbones import Backbone
from egpo.config.benchmarks import Benchmark
from egpo.config.evaluation import Evaluation, Uncertainty
from egpo.evaluation.run import evaluate
from egpo.runtime.gpus import reserve_gpus
from egpo.runtime.job import job_context
from egpo.runtime.lease import hold
from egpo.uncertainty.rollouts import finish_shards


def make_shards(engines):
    """The shards of this model's rollouts, while vLLM has it loaded: the job `roll_out` then finds them finished."""
    work = Path(snakemake.params.rollouts["work"])
    with hold(work, report):
        finish_shards(
            model=Path(snakemake.params.model),
            backbone=Backbone.model_validate(snakemake.params.backbone),
            problems=Path(snakemake.input.problems),
            settings=Evaluation.model_validate(snakemake.params.evaluation),
            uncertainty=Uncertainty.model_validate(snakemake.params.rollouts["uncertainty"]),
            work=work,
            code=snakemake.params.rollouts["code"],
            report=report,
            engines=engines,
        )


with (
    job_context(snakemake.params.name, snakemake.log[0]) as report,
    hold(Path(snakemake.params.work), report),
    reserve_gpus(snakemake.resources.gpu, report),
):
    names = snakemake.params.benchmarks
    evaluate(
        model=Path(snakemake.params.model),
        backbone=Backbone.model_validate(snakemake.params.backbone),
        benchmarks={name: Benchmark.model_validate(values) for name, values in names.items()},
        folders={name: Path(folder) for name, folder in snakemake.params.folders.items()},
        settings=Evaluation.model_validate(snakemake.params.evaluation),
        work=Path(snakemake.params.work),
        out=Path(snakemake.output.manifest).parent,
        code=snakemake.params.code,
        report=report,
        then=make_shards if snakemake.params.rollouts else None,
    )
