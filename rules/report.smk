# Tables and figures, made from stored records and metrics alone.
rule table1:
    input:
        [PATHS.evaluation(*model) / "records.parquet" for model in table1_models()],
    output:
        [PATHS.tables / f"table1.{suffix}" for suffix in ("md", "csv", "tex")],
    log:
        PATHS.log("report", "table1"),
    resources:
        mem_mb=4000,
        runtime=15,
    params:
        name="table 1",
        models=[list(model) for model in table1_models()],
        catalogue=plain(CATALOGUE),
        code=code_version("report/table1.py", "evaluation/statistics.py"),
    script:
        "../workflow/scripts/table1.py"


rule learning_curve:
    input:
        [PATHS.training(*model) / "metrics.jsonl" for model in trained_models()],
    output:
        [PATHS.figures / f"learning_curve.{suffix}" for suffix in ("png", "pdf", "csv")],
    log:
        PATHS.log("report", "learning_curve"),
    resources:
        mem_mb=4000,
        runtime=15,
    params:
        name="learning curve",
        models=[list(model) for model in trained_models()],
        catalogue=plain(CATALOGUE),
        code=code_version("report/learning_curve.py", "report/style.py", "training/progress.py"),
    script:
        "../workflow/scripts/learning_curve.py"


rule funnel_figure:
    input:
        PATHS.data / "funnel.csv",
    output:
        [PATHS.figures / f"funnel.{suffix}" for suffix in ("png", "pdf")],
    log:
        PATHS.log("report", "funnel"),
    resources:
        mem_mb=4000,
        runtime=15,
    params:
        name="data funnel",
        note=EXPERIMENT.note,
        code=code_version("report/funnel_figure.py", "report/style.py"),
    script:
        "../workflow/scripts/funnel_figure.py"


rule tables:
    input:
        rules.table1.output,


rule figures:
    input:
        rules.learning_curve.output,
        rules.funnel_figure.output,
