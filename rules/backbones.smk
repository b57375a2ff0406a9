# The models that trainings start from: fetched from the Hub, or made here.
def of_kind(kind):
    names = [name for name, backbone in CATALOGUE.backbones.items() if backbone.source.kind == kind]
    return "|".join(map(re.escape, names)) or "-"  # no backbone is named "-"


def warm_up_files(backbone):
    """The user's files of worked examples. The import takes half a second: only then."""
    warm_up = CATALOGUE.backbones[backbone].warm_up
    if warm_up is None:
        return []
    from egpo.data.problem_files import every_file

    return every_file(warm_up.sets)


rule backbone_fetch:
    output:
        **PATHS.outputs("backbone_fetch"),
    log:
        PATHS.log("backbone_fetch"),
    benchmark:
        PATHS.usage("backbone_fetch")
    wildcard_constraints:
        backbone=of_kind("hub"),
    localrule: True
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        name="backbone {backbone}",
        source=lambda w: plain(CATALOGUE.backbones[w.backbone].source),
        model=str(PATHS.backbone() / "model"),  # as text: a Path would keep its {wildcards}
    script:
        "../workflow/scripts/backbone_fetch.py"


rule backbone_convert:
    input:
        lambda w: str(ROOT / CATALOGUE.backbones[w.backbone].source.path),
    output:
        **PATHS.outputs("backbone_convert"),
    log:
        PATHS.log("backbone_convert"),
    benchmark:
        PATHS.usage("backbone_convert")
    wildcard_constraints:
        backbone=of_kind("gguf"),
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        name="backbone {backbone}",
        model=str(PATHS.backbone() / "model"),  # as text: a Path would keep its {wildcards}
    script:
        "../workflow/scripts/backbone_convert.py"


def needs_hub(backbone):
    """Whether an example of the warm-up is on the Hub."""
    warm_up = CATALOGUE.backbones[backbone].warm_up
    return warm_up is not None and any(part.on_hub for part in warm_up.sets)


rule backbone_examples:
    input:
        lambda w: warm_up_files(w.backbone),
    output:
        **PATHS.outputs("backbone_examples"),
    log:
        PATHS.log("backbone_examples"),
    benchmark:
        PATHS.usage("backbone_examples")
    localrule: True  # rows may come from the Hub
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        name="examples {backbone}",
        warm_up=lambda w: plain(CATALOGUE.backbones[w.backbone].warm_up),
        code=stage_code("backbone_examples"),
    script:
        "../workflow/scripts/backbone_examples.py"


rule backbone_teach:
    input:
        lambda w: source_ready(w.backbone),
        examples=PATHS.output("backbone_examples"),
        validation=PATHS.output("data_pool", "validation"),
        apart=[PATHS.heldout] if DATA.heldout_rows else [],
        questions=[PATHS.questions(name) for name in decontamination_benchmarks(EXPERIMENT)],
    output:
        **PATHS.outputs("backbone_teach"),
    log:
        PATHS.log("backbone_teach"),
    benchmark:
        PATHS.usage("backbone_teach")
    priority: FIRST
    threads: lambda w: EXPERIMENT.of(w.backbone).jobs.train.cpus
    resources:
        mem_mb=lambda w: EXPERIMENT.of(w.backbone).jobs.train.memory_gib * 1024,
        runtime=lambda w: EXPERIMENT.of(w.backbone).jobs.train.minutes,
    params:
        name="backbone {backbone}",
        backbone=lambda w: plain(CATALOGUE.backbones[w.backbone]),
        data=plain(DATA),
        benchmarks=list(decontamination_benchmarks(EXPERIMENT)),
        source=lambda w: source_model(w.backbone),
        model=str(PATHS.warm() / "model"),  # as text: a Path would keep its {wildcards}
        code=stage_code("backbone_teach"),
    script:
        "../workflow/scripts/backbone_teach.py"


rule backbone_tokenizer:
    output:
        **PATHS.outputs("backbone_tokenizer"),
    log:
        PATHS.log("backbone_tokenizer"),
    benchmark:
        PATHS.usage("backbone_tokenizer")
    wildcard_constraints:
        backbone=of_kind("synthetic"),
    resources:
        mem_mb=2000,
        runtime=5,
    params:
        name="tokenizer {backbone}",
        backbone=lambda w: plain(CATALOGUE.backbones[w.backbone]),
        code=stage_code("backbone_tokenizer"),
    script:
        "../workflow/scripts/backbone_tokenizer.py"


rule backbone_warm_up:
    input:
        PATHS.output("backbone_tokenizer"),
    output:
        **PATHS.outputs("backbone_warm_up"),
    log:
        PATHS.log("backbone_warm_up"),
    benchmark:
        PATHS.usage("backbone_warm_up")
    wildcard_constraints:
        backbone=of_kind("synthetic"),
    priority: FIRST
    threads: 2
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        name="backbone {backbone}",
        backbone=lambda w: plain(CATALOGUE.backbones[w.backbone]),
        model=str(PATHS.backbone() / "model"),  # as text: a Path would keep its {wildcards}
        code=stage_code("backbone_warm_up"),
    script:
        "../workflow/scripts/backbone_warm_up.py"
