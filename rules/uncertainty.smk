# Rollouts on held-out problems and their measures (sections 4.4, 4.5 and A.4 of the paper).
UNCERTAINTY = EXPERIMENT.uncertainty


if UNCERTAINTY is not None:

    rule roll_out:
        input:
            model=lambda w: evaluated(w)[0],
            problems=PATHS.heldout,
            # Where the model is evaluated, its shards are made too: vLLM loads once.
            evaluation=ancient(PATHS.output("evaluate_model")),
        output:
            **PATHS.outputs("roll_out"),
        log:
            PATHS.log("roll_out"),
        benchmark:
            PATHS.usage("roll_out")
        priority: FIRST
        threads: lambda w: evaluate_needs(w).cpus
        resources:
            mem_mb=lambda w: evaluate_needs(w).memory_gib * 1024,
            runtime=lambda w: evaluate_needs(w).minutes,
            gpu=evaluation_gpus,
            tasks_per_gpu=0,
        params:
            name="rollouts {backbone} {method} seed {seed}",
            model=lambda w: evaluated(w)[1],
            work=str(PATHS.rollouts() / "work"),
            backbone=lambda w: plain(CATALOGUE.backbones[w.backbone]),
            evaluation=lambda w: plain_evaluation(w),
            uncertainty=plain(UNCERTAINTY),
            code=stage_code("roll_out"),
        script:
            "../workflow/scripts/roll_out.py"

    rule measure_rollouts:
        input:
            PATHS.output("roll_out", "rollouts"),
        output:
            **PATHS.outputs("measure_rollouts"),
        log:
            PATHS.log("measure_rollouts"),
        benchmark:
            PATHS.usage("measure_rollouts")
        resources:
            mem_mb=8000,
            runtime=60,
        params:
            name="measures {backbone} {method} seed {seed}",
            code=stage_code("measure_rollouts"),
        script:
            "../workflow/scripts/measure_rollouts.py"
