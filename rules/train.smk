# One training per backbone, method and training seed, by verl.
from egpo.training.limits import START_MINUTES


def training_of(w):
    return EXPERIMENT.of(w.backbone).training


def train_needs(w):
    return EXPERIMENT.of(w.backbone).jobs.train


def custom_code(method):
    """The file of a user's custom weights, which a training depends on."""
    custom = CATALOGUE.methods[method].calibration.custom
    return [] if custom is None else [os.path.relpath(custom[0], ROOT / "src" / "egpo")]


def on_several(w, value):
    """`value` for a training on several nodes, else an empty text."""
    return value if training_of(w).nodes > 1 else ""


# Snakemake's plugin starts a job as a step of one task, which Slurm refuses on several nodes. A job with `mpi` runs
# without a step on the first node, and egpo.training.nodes starts Ray on the others.
NODES = {
    "mpi": lambda w: on_several(w, "srun"),
    "tasks": lambda w: training_of(w).nodes,
    "slurm_extra": lambda w: on_several(w, f"--ntasks-per-node=1 --gpus-per-node={training_of(w).gpus_per_node}"),
}
SEVERAL = any(EXPERIMENT.of(name).training.nodes > 1 for name in EXPERIMENT.backbones)


# Keys of `training` that change no step of it.
RESULTLESS = {"save_freq", "sample_groups", "gpu_gib", "milestones"}


rule train_model:
    input:
        backbone=lambda w: backbone_ready(w.backbone),
        train=PATHS.output("data_pool", "train"),
        validation=PATHS.output("data_pool", "validation"),
    output:
        # Checkpoints and the exported models are not declared: Snakemake deletes the outputs of a failed job, and a
        # training resumes from its checkpoints.
        **PATHS.outputs("train_model"),
        milestones=[PATHS.milestone_mark(step) for step in milestone_steps(EXPERIMENT)],
    log:
        PATHS.log("train_model"),
    benchmark:
        PATHS.usage("train_model")
    priority: FIRST
    threads: lambda w: train_needs(w).cpus
    resources:
        **(NODES if SEVERAL else {}),
        mem_mb=lambda w: train_needs(w).memory_gib * 1024,
        runtime=lambda w: train_needs(w).minutes + train_needs(w).grace_minutes + START_MINUTES,
        # Slurm counts the GPUs of a whole job.
        gpu=lambda w: training_of(w).gpus_per_node * training_of(w).nodes if training_of(w).platform == "cuda" else 0,
        tasks_per_gpu=0,
        nodes=lambda w: training_of(w).nodes,
        # Changes of these do not make a finished training run again, as changes of params would.
        minutes=lambda w: train_needs(w).minutes,
        grace_minutes=lambda w: train_needs(w).grace_minutes,
        stall_seconds=lambda w: round(60 * train_needs(w).stall_minutes),
        save_freq=lambda w: training_of(w).save_freq,
        sample_groups=lambda w: training_of(w).sample_groups,
        gpu_gib=lambda w: round(training_of(w).gpu_gib),
    params:
        name="train {backbone} {method} seed {seed}",
        model=lambda w: backbone_model(w.backbone),
        folder=str(PATHS.training()),  # as text: Snakemake fills no {wildcards} into a Path
        training=lambda w: training_of(w).model_dump(mode="json", exclude=RESULTLESS),
        method=lambda w: plain(CATALOGUE.methods[w.method]),
        backbone=lambda w: plain(CATALOGUE.backbones[w.backbone]),
        code=lambda w: stage_code("train_model", *custom_code(w.method), platform=training_of(w).platform),
    script:
        "../workflow/scripts/train.py"


rule train:
    input:
        [PATHS.output("train_model", **wildcards_of(model)) for model in trained_models(EXPERIMENT)],
        [
            PATHS.milestone_mark(step, **wildcards_of(model))
            for model in trained_models(EXPERIMENT)
            for step in milestone_steps(EXPERIMENT)
        ],
