# verl's settings of every training, checked by verl, and an estimate of the GPU memory; nothing is trained.
rule verl_settings:
    output:
        **PATHS.outputs("verl_settings"),
    log:
        PATHS.log("verl_settings"),
    resources:
        mem_mb=4000,
        runtime=15,
    params:
        name="verl settings",
        models=[[*model, backbone_model(model[0])] for model in trained_models(EXPERIMENT)],
        files=[str(PATHS.output("data_pool", name)) for name in ("train", "validation")],
        catalogue=CATALOGUE.model_dump(mode="json", exclude={"experiment": {"trackers"}}),
        code=stage_code("verl_settings"),
    script:
        "../workflow/scripts/verl_settings.py"
