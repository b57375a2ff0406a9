# Before, during and beside a run: what it will cost, how far it is, whether this machine can do it.
# None of them makes a result; `config_files` is what they call Snakemake again with, or name in messages.
from snakemake.io import regex_from_filepattern, strip_wildcard_constraints

config_files = [str(path) for path in workflow.overwrite_configfiles] or [DEFAULT_CONFIG]


rule plan:
    log:
        PATHS.log("operations", "plan"),
    retries: 0
    localrule: True
    params:
        catalogue=plain(CATALOGUE),
        evaluated=[[model, benchmarks_of(model[1])] for model in models()],
        config_files=config_files,
        given=dict(workflow.config_settings.config),
    script:
        "../workflow/scripts/plan.py"


def logged_rules(wildcards):
    """(name, pattern of its log, its first output with {wildcards}) of every rule that makes something."""
    return [
        (rule.name, regex_from_filepattern(rule.log[0]), strip_wildcard_constraints(rule.output[0]))
        for rule in workflow.rules
        if rule.log and rule.output
    ]


rule status:
    log:
        PATHS.log("operations", "status"),
    localrule: True
    params:
        catalogue=plain(CATALOGUE),
        evaluated=[[model, benchmarks_of(model[1])] for model in models()],
        trained=trained_models(),
        diagnosed=diagnosed_models(),
        rules=logged_rules,
    script:
        "../workflow/scripts/status.py"


def on_slurm(wildcards):
    return workflow.executor_plugin is not None and workflow.executor_plugin.name == "slurm"


rule doctor:
    log:
        PATHS.log("operations", "doctor"),
    retries: 0
    localrule: True
    params:
        catalogue=plain(CATALOGUE),
        config_files=config_files,
        models={name: backbone_model(name) for name in CATALOGUE.backbones},
        folders={name: benchmark_folder(name) for name in CATALOGUE.benchmarks},
        slurm=on_slurm,
    script:
        "../workflow/scripts/doctor.py"
