# OpenR1-Math to the training pool (appendix A.2).
DATA = EXPERIMENT.data


rule data_source:
    input:
        DATA.source.files if DATA.source.kind == "problems" else [],
    output:
        PATHS.source / "manifest.json",
    log:
        PATHS.log("data", "source"),
    localrule: DATA.source.kind == "hub"
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        name="data source",
        source=plain(DATA.source),
        folder=PATHS.source,
        code=code_version("data/source.py"),
    script:
        "../workflow/scripts/data_source.py"


rule data_pool:
    input:
        source=PATHS.source / "manifest.json",
        tokenizer=tokenizer_ready(DATA.tokenizer),
        questions=[PATHS.questions(name) for name in decontamination_benchmarks()],
    output:
        **({"heldout": PATHS.heldout} if DATA.heldout_rows else {}),
        flags=PATHS.data / "flags.parquet",
        train=PATHS.data / "train.parquet",
        validation=PATHS.data / "validation.parquet",
        funnel=PATHS.data / "funnel.csv",
        table=PATHS.data / "funnel.md",
        card=PATHS.data / "README.md",
        manifest=PATHS.data / "manifest.json",
    log:
        PATHS.log("data", "pool"),
    threads: EXPERIMENT.jobs.data.cpus
    resources:
        mem_mb=EXPERIMENT.jobs.data.memory_gib * 1024,
        runtime=EXPERIMENT.jobs.data.minutes,
    params:
        name="data",
        data=plain(DATA),
        note=EXPERIMENT.note,
        tokenizer=tokenizer_folder(DATA.tokenizer),
        benchmarks=decontamination_benchmarks(),
        code=code_version("data/build.py"),
    script:
        "../workflow/scripts/data_pool.py"


rule data:
    input:
        rules.data_pool.output,
