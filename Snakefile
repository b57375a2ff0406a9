# Know What You Know: EGPO as one workflow. Targets and includes, nothing else; see README.md.


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/backbones.smk"
include: "rules/train.smk"
include: "rules/settings.smk"
include: "rules/evaluate.smk"
include: "rules/uncertainty.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        rules.evaluate.input,
        rules.tables.input,
        rules.figures.input,
        rules.report.output,


# After every other rule: a method's name must not be that of a rule.
include: "rules/targets.smk"


onstart:
    be_the_driver()


localrules:
    all,
    data,
    fetch,
    train,
    evaluate,
    uncertainty,
    tables,
    figures,
