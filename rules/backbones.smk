# The models that trainings start from: fetched from the Hub, or made here.
def of_kind(kind):
    names = [name for name, backbone in CATALOGUE.backbones.items() if backbone.source.kind == kind]
    return "|".join(map(re.escape, names)) or "-"  # no backbone is named "-"


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
