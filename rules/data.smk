# OpenR1-Math to the training pool (appendix A.2).
DATA = EXPERIMENT.data


def problem_files():
    """The user's files, where the source is some. The import takes half a second: only then."""
    if DATA.source.kind != "problems":
        return []
    from egpo.data.problem_files import every_file

    return every_file(DATA.source.parts)


def needs_network():
    """Whether the rows are fetched: the nodes of a cluster may have no network."""
    if DATA.source.kind == "problems":
        return any(part.on_hub for part in DATA.source.parts)
    return DATA.source.kind == "hub"


if DATA.source.kind == "standin":

    rule data_standin:
        output:
            **PATHS.outputs("data_standin"),
        log:
            PATHS.log("data_standin"),
        benchmark:
            PATHS.usage("data_standin")
        resources:
            mem_mb=4000,
            runtime=60,
        params:
            name="data source",
            source=plain(DATA.source),
            folder=PATHS.source,
            code=stage_code("data_standin"),
        script:
            "../workflow/scripts/data_standin.py"

else:

    rule data_source:
        input:
            problem_files(),
        output:
            **PATHS.outputs("data_source"),
        log:
            PATHS.log("data_source"),
        benchmark:
            PATHS.usage("data_source")
        localrule: needs_network()
        resources:
            mem_mb=4000,
            runtime=240,
        params:
            name="data source",
            source=plain(DATA.source),
            folder=PATHS.source,
            code=stage_code("data_source"),
        script:
            "../workflow/scripts/data_source.py"


rule data_pool:
    input:
        source=PATHS.output("data_source"),
        tokenizer=tokenizer_ready(DATA.tokenizer),
        questions=[PATHS.questions(name) for name in decontamination_benchmarks(EXPERIMENT)],
    output:
        **({"heldout": PATHS.heldout} if DATA.heldout_rows else {}),
        **PATHS.outputs("data_pool"),
    log:
        PATHS.log("data_pool"),
    benchmark:
        PATHS.usage("data_pool")
    priority: FIRST
    threads: EXPERIMENT.jobs.data.cpus
    resources:
        mem_mb=EXPERIMENT.jobs.data.memory_gib * 1024,
        runtime=EXPERIMENT.jobs.data.minutes,
    params:
        name="data",
        data=plain(DATA),
        tokenizer=tokenizer_folder(DATA.tokenizer),
        benchmarks=list(decontamination_benchmarks(EXPERIMENT)),
        code=stage_code("data_pool"),
    script:
        "../workflow/scripts/data_pool.py"


# Apart from the pool: what is only read by people must not run a training again.
rule data_card:
    input:
        **{name: PATHS.output("data_pool", name) for name in ("flags", "manifest", "examples")},
    output:
        **PATHS.outputs("data_card"),
    log:
        PATHS.log("data_card"),
    benchmark:
        PATHS.usage("data_card")
    localrule: True
    resources:
        mem_mb=8000,
        runtime=30,
    params:
        name="data card",
        note=EXPERIMENT.note,
        code=stage_code("data_card"),
    script:
        "../workflow/scripts/data_card.py"


rule data:
    input:
        rules.data_pool.output,
        rules.data_card.output,
