# Before, during and beside a run: what it will cost, how far it is, whether this machine can do it.
# None of them makes a result; `config_files` is what they call Snakemake again with, or name in messages.
config_files = [str(path) for path in workflow.overwrite_configfiles] or [DEFAULT_CONFIG]


rule plan:
    localrule: True
    params:
        catalogue=plain(CATALOGUE),
        config_files=config_files,
    log:
        PATHS.log("operations", "plan"),
    script:
        "../workflow/scripts/plan.py"


rule status:
    localrule: True
    params:
        catalogue=plain(CATALOGUE),
        models=models(),
        trained=trained_models(),
    log:
        PATHS.log("operations", "status"),
    script:
        "../workflow/scripts/status.py"


rule doctor:
    localrule: True
    params:
        catalogue=plain(CATALOGUE),
        config_files=config_files,
        models={name: backbone_model(name) for name in CATALOGUE.backbones},
        folders={name: benchmark_folder(name) for name in CATALOGUE.benchmarks},
    log:
        PATHS.log("operations", "doctor"),
    script:
        "../workflow/scripts/doctor.py"
