# verl's settings of every training, checked by verl, and what they need of a GPU's memory; nothing is trained.
rule verl_settings:
    output:
        PATHS.settings / "memory.md",
        PATHS.settings / "memory.csv",
    log:
        PATHS.log("settings"),
    resources:
        mem_mb=4000,
        runtime=15,
    params:
        name="verl settings",
        models=[[*model, backbone_model(model[0])] for model in trained_models()],
        files=[str(PATHS.data / "train.parquet"), str(PATHS.data / "validation.parquet")],
        catalogue=plain(CATALOGUE),
        code=code_version("training/settings_files.py"),
    script:
        "../workflow/scripts/verl_settings.py"
