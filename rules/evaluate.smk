# One evaluation per model: vLLM loads once and serves every benchmark and every seed. A milestone is a model too.
def step_of(wildcards):
    """The step of a milestone's evaluation; None of a final model's."""
    return wildcards.get("step")


def evaluation_of(w):
    evaluation = EXPERIMENT.of(w.backbone).evaluation
    return evaluation.of_milestones if step_of(w) else evaluation


def asked_of(w):
    """The benchmarks of an evaluation."""
    return (milestone_benchmarks if step_of(w) else benchmarks_of)(EXPERIMENT, w.method)


def plain_evaluation(w):
    """What of it answers depend on."""
    return evaluation_of(w).model_dump(mode="json", exclude={"milestones"})


def evaluate_needs(w):
    return EXPERIMENT.of(w.backbone).jobs.evaluate


def evaluation_gpus(w):
    return evaluation_of(w).gpus if evaluation_of(w).platform == "cuda" else 0


def evaluated(wildcards):
    """(file that says the model is ready, folder of the model)."""
    if wildcards.method == BASE:
        return backbone_ready(wildcards.backbone), backbone_model(wildcards.backbone)
    if step_of(wildcards):
        return str(PATHS.milestone_mark(**wildcards)), str(PATHS.milestone(**wildcards))
    folder = PATHS.training(wildcards.backbone, wildcards.method, wildcards.seed)
    return str(folder / "manifest.json"), str(folder / "model")


def evaluation_file(name, model):
    """An output of the evaluation of a model, by its name."""
    return PATHS.output("evaluate_model", name, **wildcards_of(model))


def evaluations_of(models):
    """What says that models and their milestones are evaluated."""
    milestones = [milestone for model in models for milestone in milestones_of(EXPERIMENT, model)]
    return [
        *(evaluation_file("manifest", model) for model in models),
        *(PATHS.output("evaluate_milestone", **wildcards_of(milestone)) for milestone in milestones),
    ]


def benchmark_folder(name):
    """Folder with the data of a benchmark."""
    source = CATALOGUE.benchmarks[name].source
    return str(source.path) if source.kind == "local" else str(PATHS.benchmark(name))


def benchmark_ready(name):
    """What a job that reads a benchmark waits for."""
    ready = {
        "local": [],
        "synthetic": [str(PATHS.benchmark(name) / "README.md")],
        "hub": [str(PATHS.output("benchmark_fetch", benchmark=name))],
    }
    return ready[CATALOGUE.benchmarks[name].source.kind]


def plain_benchmarks(names):
    return {name: plain(CATALOGUE.benchmarks[name]) for name in names}


def folders_of(names):
    return {name: benchmark_folder(name) for name in names}


def benchmarks_of_kind(kind):
    return [name for name in every_benchmark(EXPERIMENT) if CATALOGUE.benchmarks[name].source.kind == kind]


SYNTHETIC = benchmarks_of_kind("synthetic")
ASKED = decontamination_benchmarks(EXPERIMENT)


# One job for all benchmarks, and one for their questions: Python's start and its imports take longer than the work.
rule benchmark_make:
    output:
        **PATHS.outputs("benchmark_make"),
        cards=[file for name in SYNTHETIC for file in benchmark_ready(name)],
    log:
        PATHS.log("benchmark_make"),
    benchmark:
        PATHS.usage("benchmark_make")
    resources:
        mem_mb=2000,
        runtime=5,
    params:
        name="benchmarks",
        benchmarks=plain_benchmarks(SYNTHETIC),
        code=stage_code("benchmark_make"),
    script:
        "../workflow/scripts/benchmark_make.py"


rule benchmark_fetch:
    output:
        **PATHS.outputs("benchmark_fetch"),
    log:
        PATHS.log("benchmark_fetch"),
    benchmark:
        PATHS.usage("benchmark_fetch")
    localrule: True
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        name="benchmark {benchmark}",
        source=lambda w: plain(CATALOGUE.benchmarks[w.benchmark].source),
        folder=str(PATHS.benchmark("{benchmark}")),  # as text: a Path would keep its {wildcards}
    script:
        "../workflow/scripts/benchmark_fetch.py"


rule benchmark_questions:
    input:
        [file for name in ASKED for file in benchmark_ready(name)],
    output:
        **PATHS.outputs("benchmark_questions"),
        questions=[PATHS.questions(name) for name in ASKED],
    log:
        PATHS.log("benchmark_questions"),
    benchmark:
        PATHS.usage("benchmark_questions")
    localrule: True
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        name="questions of the benchmarks",
        benchmarks=plain_benchmarks(ASKED),
        folders=folders_of(ASKED),
        code=stage_code("benchmark_questions"),
    script:
        "../workflow/scripts/benchmark_questions.py"


def problems_to_roll_out(wildcards):
    """The problems of the rollouts of a model that has some. Others, or new ones, are no reason to evaluate again."""
    model = (wildcards.backbone, wildcards.method, int(wildcards.seed))
    return ancient(str(PATHS.heldout)) if model in diagnosed_models(EXPERIMENT) and not step_of(wildcards) else []


def rollouts_too(wildcards, input):
    """What the rollouts of the model need, or None. Snakemake does not compare what depends on `input`: a change is a
    reason to run `roll_out`, which is able to load vLLM itself, and none to evaluate again."""
    if not input.problems:
        return None
    return {
        "work": str(PATHS.rollouts(**wildcards) / "work"),
        "uncertainty": plain(EXPERIMENT.uncertainty),
        "code": stage_code("roll_out"),
    }


# Reference answers in place of a model's: what accuracies can be at most, and by chance.
rule score_references:
    input:
        [file for name in EXPERIMENT.benchmarks for file in benchmark_ready(name)],
    output:
        **PATHS.outputs("score_references"),
    log:
        PATHS.log("score_references"),
    benchmark:
        PATHS.usage("score_references")
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        name="references of the benchmarks",
        benchmarks=plain_benchmarks(EXPERIMENT.benchmarks),
        folders=folders_of(EXPERIMENT.benchmarks),
        code=stage_code("score_references"),
    script:
        "../workflow/scripts/score_references.py"


rule evaluate_model:
    input:
        model=lambda w: evaluated(w)[0],
        benchmarks=lambda w: [file for name in asked_of(w) for file in benchmark_ready(name)],
        problems=problems_to_roll_out,
    output:
        **PATHS.outputs("evaluate_model"),
    log:
        PATHS.log("evaluate_model"),
    benchmark:
        PATHS.usage("evaluate_model")
    priority: FIRST
    threads: lambda w: evaluate_needs(w).cpus
    resources:
        mem_mb=lambda w: evaluate_needs(w).memory_gib * 1024,
        runtime=lambda w: evaluate_needs(w).minutes,
        gpu=evaluation_gpus,
        tasks_per_gpu=0,
    params:
        name="evaluate {backbone} {method} seed {seed}",
        model=lambda w: evaluated(w)[1],
        work=str(PATHS.evaluation() / "work"),
        backbone=lambda w: plain(CATALOGUE.backbones[w.backbone]),
        benchmarks=lambda w: plain_benchmarks(asked_of(w)),
        folders=lambda w: folders_of(asked_of(w)),
        evaluation=lambda w: plain_evaluation(w),
        rollouts=rollouts_too,
        code=stage_code("evaluate_model"),
    script:
        "../workflow/scripts/evaluate.py"


use rule evaluate_model as evaluate_milestone with:
    output:
        **PATHS.outputs("evaluate_milestone"),
    log:
        PATHS.log("evaluate_milestone"),
    benchmark:
        PATHS.usage("evaluate_milestone")
    params:
        name="evaluate {backbone} {method} seed {seed} step {step}",
        work=str(PATHS.folder("evaluate_milestone") / "work"),


rule evaluate:
    input:
        evaluations_of(evaluated_models(EXPERIMENT)),
