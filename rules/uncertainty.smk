# What entropies tell (sections 4.4, 4.5 and A.4): rollouts on held-out problems, measured.
UNCERTAINTY = EXPERIMENT.uncertainty


def measures_of(models):
    return [PATHS.rollouts(*model) / "measures.parquet" for model in models]


if UNCERTAINTY is not None:

    rule roll_out:
        input:
            model=lambda w: evaluated(w)[0],
            problems=PATHS.heldout,
        output:
            **PATHS.outputs("roll_out"),
        log:
            PATHS.log("roll_out"),
        benchmark:
            PATHS.usage("roll_out")
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
            evaluation=lambda w: plain(evaluation_of(w)),
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

    rule table3:
        input:
            "config/paper-numbers.yaml",
            measures=measures_of(table1_models(EXPERIMENT)),
        output:
            [PATHS.tables / f"table3.{suffix}" for suffix in ("md", "csv", "tex")],
        log:
            PATHS.root / "logs" / "report" / ("table3" + ".log"),
        resources:
            mem_mb=8000,
            runtime=60,
        params:
            name="table 3",
            models=[list(model) for model in table1_models(EXPERIMENT)],
            catalogue=reported(),
            code=code_version("report/tables/entropy.py"),
        script:
            "../workflow/scripts/entropy_table.py"

    rule entropy_figures:
        input:
            measures=measures_of(table1_models(EXPERIMENT)),
        output:
            [
                PATHS.figures / f"{name}.{suffix}"
                for name in (
                    "entropy_density",
                    "entropy_roc",
                    "entropy_length",
                    *(
                        ["entropy_parts"]
                        if any(CATALOGUE.backbones[model[0]].thinks for model in table1_models(EXPERIMENT))
                        else []
                    ),
                )
                for suffix in ("png", "pdf")
            ],
        log:
            PATHS.root / "logs" / "report" / ("entropy_figures" + ".log"),
        resources:
            mem_mb=8000,
            runtime=30,
        params:
            name="entropy figures",
            models=[list(model) for model in table1_models(EXPERIMENT)],
            catalogue=reported(),
            code=code_version("report/figures/entropy.py"),
        script:
            "../workflow/scripts/entropy_figures.py"

    rule case_study:
        input:
            rollouts=[PATHS.rollouts(*model) / "rollouts.parquet" for model in table1_models(EXPERIMENT)],
            problems=PATHS.heldout,
        output:
            PATHS.tables / "case_study.md",
        log:
            PATHS.root / "logs" / "report" / ("case_study" + ".log"),
        resources:
            mem_mb=8000,
            runtime=60,
        params:
            name="case study",
            models=[list(model) for model in table1_models(EXPERIMENT)],
            catalogue=reported(),
            code=code_version("report/tables/case_study.py"),
        script:
            "../workflow/scripts/case_study.py"


def uncertainty_results(wildcards):
    if UNCERTAINTY is None:
        raise WorkflowError(
            "this experiment has no section 'uncertainty'. Give it one, e.g. uncertainty: {rollouts: 8}, and "
            "data.heldout_rows."
        )
    return [*rules.table3.output, *rules.entropy_figures.output, *rules.case_study.output]


rule uncertainty:
    input:
        uncertainty_results,
