# Tables, figures and the report, made from stored records and metrics alone: a rule for each of egpo.report.entries.
from egpo.report.entries import entries_of

mark = report  # at the start of a line, Snakemake would read "report" as its keyword


def keys_and_files(entry):
    """Of the inputs of an entry: the keys of those with several files, and all as Snakemake takes them."""
    found = entry.input_files(CATALOGUE, PATHS)
    keys = {name: list(files) for name, files in found.items() if isinstance(files, dict)}
    return keys, {name: list(files.values()) if name in keys else files for name, files in found.items()}


def marked(entry):
    """The outputs of an entry, marked for the page of `snakemake --report`."""
    return [
        mark(
            file,
            caption="../workflow/report/caption.rst",
            category=entry.kind.capitalize(),
            labels={"name": file.stem, "format": file.suffix[1:]},
        )
        for file in entry.files(CATALOGUE, PATHS)
    ]


def made(*kinds):
    """Files of all entries of these kinds."""
    return [file for entry in entries_of(CATALOGUE, *kinds) for file in entry.files(CATALOGUE, PATHS)]


for entry in entries_of(CATALOGUE):
    keys, files = keys_and_files(entry)

    rule:
        name:
            entry.name
        input:
            **files,
        output:
            marked(entry),
        log:
            entry.log(PATHS),
        benchmark:
            entry.usage(PATHS)
        localrule: entry.local
        resources:
            mem_mb=entry.memory_mb,
            runtime=entry.minutes,
        params:
            name=entry.title,
            file_keys=keys,
            settings=entry.given(CATALOGUE),
            captions=entry.captions,
            code=code_version(entry.code),
        script:
            "../workflow/scripts/report_entry.py"


rule tables:
    input:
        made("tables"),


rule figures:
    input:
        made("figures"),


def uncertainty_results(wildcards):
    if EXPERIMENT.uncertainty is None:
        raise WorkflowError(
            "this experiment has no section 'uncertainty'. Give it one, e.g. uncertainty: {rollouts_per_prompt: 8}, and "
            "data.heldout_rows."
        )
    return [
        file
        for entry in entries_of(CATALOGUE)
        if entry.needs == "uncertainty"
        for file in entry.files(CATALOGUE, PATHS)
    ]


rule uncertainty:
    input:
        uncertainty_results,
