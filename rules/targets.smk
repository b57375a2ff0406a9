# One target per method, and one for Table 2's: training and evaluation, with what these need and nothing else.
def ablation_evaluations(wildcards):
    if EXPERIMENT.ablations is None:
        raise WorkflowError(
            "this experiment has no section 'ablations'. Use one that does, e.g. "
            "snakemake ablations --configfile config/demo.yaml config/demo-full.yaml"
        )
    return evaluations_of(table2_models(EXPERIMENT))


def from_the_hub():
    """Every file that a rule fetches: the other jobs need no network."""
    backbones, benchmarks = CATALOGUE.backbones, CATALOGUE.benchmarks
    models = [
        PATHS.output("backbone_fetch", backbone=name) for name, one in backbones.items() if one.source.kind == "hub"
    ]
    examples = [PATHS.output("backbone_examples", backbone=name) for name in backbones if needs_hub(name)]
    asked = [file for name in benchmarks_of_kind("hub") for file in benchmark_ready(name)]
    return [*models, *examples, *asked, *([PATHS.output("data_source")] if needs_network() else [])]


rule fetch:
    input:
        from_the_hub(),


rule ablations:
    input:
        ablation_evaluations,


for method in CATALOGUE.methods:
    if workflow.is_rule(method):
        raise WorkflowError(f"define.methods.{method}: has the name of a target of the workflow: choose another name")

    rule:
        name:
            method
        input:
            evaluations_of(
                [
                    (backbone, method, seed)
                    for backbone in backbones_of(EXPERIMENT, method)
                    for seed in EXPERIMENT.training_seeds
                ]
            ),
