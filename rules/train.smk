# One training per backbone, method and training seed, by verl.
TRAINING = EXPERIMENT.training
ON_GPU = TRAINING.platform == "cuda"


rule train_model:
    input:
        backbone=lambda w: backbone_ready(w.backbone),
        train=PATHS.data / "train.parquet",
        validation=PATHS.data / "validation.parquet",
    output:
        # The checkpoints and the exported model lie beside these: Snakemake deletes declared outputs
        # of a failed job, and a training resumes from what it saved.
        manifest=PATHS.training() / "manifest.json",
        metrics=PATHS.training() / "metrics.jsonl",
    log:
        PATHS.log("train", "{backbone}", "{method}", "seed-{seed}"),
    threads: 16 if ON_GPU else 2
    resources:
        mem_mb=200000 if ON_GPU else 12000,
        runtime=round(TRAINING.time_limit_minutes) + 30,
        gpu=TRAINING.gpus_per_node if ON_GPU else 0,
        tasks_per_gpu=0,
        nodes=TRAINING.nodes,
    params:
        name="train {backbone} {method} seed {seed}",
        model=lambda w: backbone_model(w.backbone),
        folder=str(PATHS.training()),  # as text: a Path would keep its {wildcards}
        training=plain(TRAINING),
        method=lambda w: plain(CATALOGUE.methods[w.method]),
        backbone=lambda w: plain(CATALOGUE.backbones[w.backbone]),
        code=code_version("methods", "training", "boxed.py"),
    script:
        "../workflow/scripts/train.py"


rule train:
    input:
        [PATHS.training(*model) / "manifest.json" for model in trained_models()],
