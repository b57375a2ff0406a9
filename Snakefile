# Know What You Know: EGPO as one workflow. Targets and includes, nothing else; see README.md.


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/backbones.smk"
include: "rules/train.smk"
include: "rules/settings.smk"
include: "rules/evaluate.smk"
include: "rules/uncertainty.smk"
include: "rules/report.smk"
include: "rules/operations.smk"
include: "rules/targets.smk"


rule all:
    default_target: True
    input:
        rules.evaluate.input,
        rules.tables.input,
        rules.figures.input,
        rules.report.output,


onstart:
    be_the_driver()


localrules:
    all,
    data,
    train,
    evaluate,
    uncertainty,
    tables,
    figures,
