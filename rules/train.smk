# One training per backbone, method and training seed, by verl.
from egpo.training.limits import START_MINUTES


def training_of(w):
    return EXPERIMENT.of(w.backbone).training


def train_needs(w):
    return EXPERIMENT.of(w.backbone).jobs.train


def own_code(method):
    """The file of a user's own weights, as a part of the code that a training depends on."""
    own = CATALOGUE.methods[method].calibration.own
    return [] if own is None else [os.path.relpath(own[0], ROOT / "src" / "egpo")]


def on_several(w, value):
    """`value` for a training on several nodes, nothing for the others."""
    return value if training_of(w).nodes > 1 else ""


# Slurm starts no step of one task, as Snakemake's plugin asks for, on several nodes. A job of `mpi` has no such step: it
# runs on the first node, and egpo.training.nodes starts Ray on the others.
NODES = {
    "mpi": lambda w: on_several(w, "srun"),
    "tasks": lambda w: training_of(w).nodes,
    "slurm_extra": lambda w: on_several(w, f"--ntasks-per-node=1 --gpus-per-node={training_of(w).gpus_per_node}"),
}
SEVERAL = any(EXPERIMENT.of(name).training.nodes > 1 for name in EXPERIMENT.backbones)


rule train_model:
    input:
        backbone=lambda w: backbone_ready(w.backbone),
        train=PATHS.output("data_pool", "train"),
        validation=PATHS.output("data_pool", "validation"),
    output:
        # The checkpoints and the exported model lie beside these: Snakemake deletes declared outputs
        # of a failed job, and a training resumes from what it saved.
        **PATHS.outputs("train_model"),
    log:
        PATHS.log("train_model"),
    benchmark:
        PATHS.usage("train_model")
    threads: lambda w: train_needs(w).cpus
    resources:
        **(NODES if SEVERAL else {}),
        mem_mb=lambda w: train_needs(w).memory_gib * 1024,
        runtime=lambda w: train_needs(w).minutes + train_needs(w).grace_minutes + START_MINUTES,
        # Slurm counts the GPUs of a whole job.
        gpu=lambda w: training_of(w).gpus_per_node * training_of(w).nodes if training_of(w).platform == "cuda" else 0,
        tasks_per_gpu=0,
        nodes=lambda w: training_of(w).nodes,
        # What a finished training must not be run again for: as resources, for params would.
        minutes=lambda w: train_needs(w).minutes,
        grace_minutes=lambda w: train_needs(w).grace_minutes,
        stall_seconds=lambda w: round(60 * train_needs(w).stall_minutes),
        save_freq=lambda w: training_of(w).save_freq,
        gpu_gib=lambda w: round(training_of(w).gpu_gib),
    params:
        name="train {backbone} {method} seed {seed}",
        model=lambda w: backbone_model(w.backbone),
        folder=str(PATHS.training()),  # as text: a Path would keep its {wildcards}
        training=lambda w: training_of(w).model_dump(mode="json", exclude={"save_freq", "gpu_gib"}),
        method=lambda w: plain(CATALOGUE.methods[w.method]),
        backbone=lambda w: plain(CATALOGUE.backbones[w.backbone]),
        code=lambda w: stage_code("train_model", *own_code(w.method), platform=training_of(w).platform),
    script:
        "../workflow/scripts/train.py"


rule train:
    input:
        [PATHS.training(*model) / "manifest.json" for model in trained_models(EXPERIMENT)],
