# One evaluation per model: vLLM loads once and serves every benchmark and every seed.
EVALUATION = EXPERIMENT.evaluation


def evaluated(wildcards):
    """(file that says the model is ready, folder of the model)."""
    if wildcards.method == BASE:
        return backbone_ready(wildcards.backbone), backbone_model(wildcards.backbone)
    folder = PATHS.training(wildcards.backbone, wildcards.method, wildcards.seed)
    return str(folder / "manifest.json"), str(folder / "model")


def benchmark_folders(names):
    """Local folder of each benchmark that has one; evalscope fetches the others itself."""
    folders = {}
    for name in names:
        source = CATALOGUE.benchmarks[name].source
        if source.kind != "hub":
            folders[name] = str(source.path if source.kind == "local" else PATHS.benchmark(name))
    return folders


def benchmarks_ready(wildcards):
    return [
        PATHS.benchmark(name) / "README.md"
        for name in benchmarks_of(wildcards.method)
        if CATALOGUE.benchmarks[name].source.kind == "synthetic"
    ]


rule benchmark_make:
    output:
        PATHS.benchmark() / "README.md",
    log:
        PATHS.log("benchmarks", "{benchmark}"),
    resources:
        mem_mb=2000,
        runtime=5,
    params:
        name="benchmark {benchmark}",
        benchmark=lambda w: plain(CATALOGUE.benchmarks[w.benchmark]),
        code=code_version("evaluation/synthetic.py", "data/problems.py", "data/keyed.py"),
    script:
        "../workflow/scripts/benchmark_make.py"


rule evaluate_model:
    input:
        model=lambda w: evaluated(w)[0],
        benchmarks=benchmarks_ready,
    output:
        manifest=PATHS.evaluation() / "manifest.json",
        records=PATHS.evaluation() / "records.parquet",
    log:
        PATHS.log("evaluate", "{backbone}", "{method}", "seed-{seed}"),
    threads: 8 if EVALUATION.platform == "cuda" else 2
    resources:
        mem_mb=64000 if EVALUATION.platform == "cuda" else 8000,
        runtime=round(EVALUATION.time_limit_minutes) + 30,
        gpu=EVALUATION.gpus if EVALUATION.platform == "cuda" else 0,
        tasks_per_gpu=0,
    params:
        name="evaluate {backbone} {method} seed {seed}",
        model=lambda w: evaluated(w)[1],
        work=str(PATHS.evaluation() / "work"),
        backbone=lambda w: plain(CATALOGUE.backbones[w.backbone]),
        benchmarks=lambda w: {name: plain(CATALOGUE.benchmarks[name]) for name in benchmarks_of(w.method)},
        folders=lambda w: benchmark_folders(benchmarks_of(w.method)),
        evaluation=plain(EVALUATION),
        code=code_version("evaluation", "data/keyed.py"),
    script:
        "../workflow/scripts/evaluate.py"


rule evaluate:
    input:
        [PATHS.evaluation(*model) / "manifest.json" for model in models()],
