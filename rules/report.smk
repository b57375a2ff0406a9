# Tables and figures, made from stored records and metrics alone.


def records_of(models):
    return [PATHS.evaluation(*model) / "records.parquet" for model in models]


rule table1:
    input:
        "config/paper-numbers.yaml",
        records=records_of(table1_models(EXPERIMENT)),
    output:
        [PATHS.tables / f"table1.{suffix}" for suffix in ("md", "csv", "tex")],
    log:
        PATHS.root / "logs" / "report" / ("table1" + ".log"),
    resources:
        mem_mb=8000,
        runtime=30,
    params:
        name="table 1",
        table="table1",
        models=[list(model) for model in table1_models(EXPERIMENT)],
        catalogue=reported(),
        code=code_version("report/tables/accuracy.py"),
    script:
        "../workflow/scripts/accuracy_table.py"


if EXPERIMENT.ablations is not None:

    rule table2:
        input:
            "config/paper-numbers.yaml",
            records=records_of(table2_models(EXPERIMENT)),
        output:
            [PATHS.tables / f"table2.{suffix}" for suffix in ("md", "csv", "tex")],
        log:
            PATHS.root / "logs" / "report" / ("table2" + ".log"),
        resources:
            mem_mb=8000,
            runtime=30,
        params:
            name="table 2",
            table="table2",
            models=[list(model) for model in table2_models(EXPERIMENT)],
            catalogue=reported(),
            code=code_version("report/tables/accuracy.py"),
        script:
            "../workflow/scripts/accuracy_table.py"


rule comparisons:
    input:
        records=records_of(table1_models(EXPERIMENT)),
        ablated=records_of(table2_models(EXPERIMENT)),
    output:
        [PATHS.tables / f"comparisons.{suffix}" for suffix in ("md", "csv")],
    log:
        PATHS.root / "logs" / "report" / ("comparisons" + ".log"),
    resources:
        mem_mb=8000,
        runtime=30,
    params:
        name="comparisons",
        models=[list(model) for model in table1_models(EXPERIMENT)],
        ablated=[list(model) for model in table2_models(EXPERIMENT)],
        catalogue=reported(),
        code=code_version("analysis/comparisons.py"),
    script:
        "../workflow/scripts/comparisons.py"


rule answers:
    input:
        records=records_of(table1_models(EXPERIMENT)),
    output:
        [PATHS.tables / name for name in ("answers.md", "answers.csv", "second_opinion.md")],
    log:
        PATHS.root / "logs" / "report" / ("answers" + ".log"),
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        name="answers",
        models=[list(model) for model in table1_models(EXPERIMENT)],
        catalogue=reported(),
        code=code_version("report/tables/answers.py"),
    script:
        "../workflow/scripts/answers.py"


rule audit:
    input:
        "config/paper-numbers.yaml",
        "config/benchmarks.yaml",
        "config/backbones.yaml",
    output:
        [PATHS.tables / f"audit.{suffix}" for suffix in ("md", "csv")],
    log:
        PATHS.root / "logs" / "report" / ("audit" + ".log"),
    localrule: True
    resources:
        mem_mb=2000,
        runtime=5,
    params:
        name="audit of the paper's numbers",
        code=code_version("analysis/audit.py"),
    script:
        "../workflow/scripts/audit.py"


rule learning_curve:
    input:
        [PATHS.training(*model) / "metrics.jsonl" for model in trained_models(EXPERIMENT)],
    output:
        [PATHS.figures / f"learning_curve.{suffix}" for suffix in ("png", "pdf", "csv")],
    log:
        PATHS.root / "logs" / "report" / ("learning_curve" + ".log"),
    localrule: True
    resources:
        mem_mb=4000,
        runtime=15,
    params:
        name="learning curve",
        models=[list(model) for model in trained_models(EXPERIMENT)],
        catalogue=reported(),
        code=code_version("report/figures/learning_curve.py"),
    script:
        "../workflow/scripts/learning_curve.py"


rule funnel_figure:
    input:
        PATHS.output("data_card", "funnel"),
    output:
        [PATHS.figures / f"funnel.{suffix}" for suffix in ("png", "pdf")],
    log:
        PATHS.root / "logs" / "report" / ("funnel" + ".log"),
    localrule: True
    resources:
        mem_mb=4000,
        runtime=15,
    params:
        name="data funnel",
        note=EXPERIMENT.note,
        code=code_version("report/figures/funnel.py"),
    script:
        "../workflow/scripts/funnel_figure.py"


rule claims:
    input:
        "config/paper-numbers.yaml",
        comparisons=PATHS.tables / "comparisons.csv",
        measures=measures_of(diagnosed_models(EXPERIMENT)),
    output:
        [PATHS.tables / f"claims.{suffix}" for suffix in ("md", "csv")],
    log:
        PATHS.root / "logs" / "report" / ("claims" + ".log"),
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        name="claims",
        models=[list(model) for model in diagnosed_models(EXPERIMENT)],
        catalogue=reported(),
        code=code_version("analysis/claims.py"),
    script:
        "../workflow/scripts/claims.py"


rule method_figure:
    output:
        [PATHS.figures / f"method.{suffix}" for suffix in ("png", "pdf")],
    log:
        PATHS.root / "logs" / "report" / ("method" + ".log"),
    localrule: True
    resources:
        mem_mb=4000,
        runtime=15,
    params:
        name="figure of the method",
        method=plain(CATALOGUE.methods[EXPERIMENT.main_method]),
        rollouts=EXPERIMENT.training.rollouts_per_prompt,
        code=code_version("report/figures/method.py"),
    script:
        "../workflow/scripts/method_figure.py"


rule tables:
    input:
        rules.table1.output,
        rules.table2.output if EXPERIMENT.ablations is not None else [],
        rules.comparisons.output,
        rules.answers.output,
        rules.audit.output,
        rules.claims.output,
        [*rules.table3.output, *rules.case_study.output] if EXPERIMENT.uncertainty is not None else [],


rule figures:
    input:
        rules.learning_curve.output,
        rules.funnel_figure.output,
        rules.method_figure.output,
        rules.entropy_figures.output if EXPERIMENT.uncertainty is not None else [],


rule report:
    input:
        template="workflow/report/page.html",
        files=[
            PATHS.output("data_card", "table"),
            *[
                file
                for file in map(str, [*rules.tables.input, *rules.figures.input])
                if file.endswith((".md", ".png"))
            ],
        ],
        manifests=rules.evaluate.input,
    output:
        PATHS.report,
    log:
        PATHS.root / "logs" / "report" / ("report" + ".log"),
    localrule: True
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        name="report",
        models=[list(model) for model in evaluated_models(EXPERIMENT)],
        diagnosed=[list(model) for model in diagnosed_models(EXPERIMENT)],
        catalogue=reported(),
        code=code_version("report/page.py"),
    script:
        "../workflow/scripts/report.py"
