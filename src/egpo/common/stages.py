"""The registry of stages: what a rule makes, where, and by which code. Rules, `egpo plan` and `egpo status` read it.

A new stage is an entry here, a rule, and a script. Tables, figures and the report have their own list
(egpo.report.entries).
"""

from __future__ import annotations

from dataclasses import dataclass

MODEL = "{backbone}/{method}/seed-{seed}"


@dataclass(frozen=True)
class Stage:
    """One kind of job.

    Attributes:
        group: under which `egpo plan` sums it up.
        folder: below results/<experiment>/, with Snakemake's wildcards.
        outputs: files in the folder by their names in the rule. The first is written last: it says that the job is
            done.
        log: below results/<experiment>/logs/, without its suffix.
        code: modules whose code, with all that they import, decides the outputs (egpo.common.provenance).
        cpu_code: modules that count for jobs on the platform `cpu` alone.
        needs: the key of `jobs` that says what the job may take; None for a short job.
        unit: what the job counts while it works, in `egpo status`; None for a short job.
        result: the output that lineage hashes.
    """

    group: str
    folder: str
    outputs: dict[str, str]
    log: str
    code: tuple[str, ...] = ()
    cpu_code: tuple[str, ...] = ()
    needs: str | None = None
    unit: str | None = None
    result: str | None = None


STAGES: dict[str, Stage] = {
    "data_standin": Stage("data", "source", {"manifest": "manifest.json"}, "data/standin", ("synthetic/standin.py",)),
    "data_source": Stage("data", "source", {"manifest": "manifest.json"}, "data/source", ("data/source.py",)),
    "data_pool": Stage(
        "data",
        "data",
        {
            "manifest": "manifest.json",
            "flags": "flags.parquet",
            "train": "train.parquet",
            "validation": "validation.parquet",
            "examples": "examples.json",
        },
        "data/pool",
        ("data/build.py",),
        needs="data",
        result="train",
    ),
    "data_card": Stage(
        "data",
        "data",
        {"card": "README.md", "funnel": "funnel.csv", "table": "funnel.md"},
        "data/card",
        ("data/card.py",),
    ),
    "backbone_fetch": Stage(
        "backbones", "backbones/{backbone}", {"manifest": "manifest.json"}, "backbones/{backbone}/fetch"
    ),
    "backbone_convert": Stage(
        "backbones", "backbones/{backbone}", {"manifest": "manifest.json"}, "backbones/{backbone}/convert"
    ),
    "backbone_examples": Stage(
        "backbones",
        "backbones/{backbone}/warm",
        {"examples": "examples.jsonl"},
        "backbones/{backbone}/examples",
        ("backbones/examples.py",),
    ),
    "backbone_teach": Stage(
        "backbones",
        "backbones/{backbone}/warm",
        {"manifest": "manifest.json"},
        "backbones/{backbone}/teach",
        ("backbones/warm_up.py",),
    ),
    "backbone_tokenizer": Stage(
        "backbones",
        "backbones/{backbone}/tokenizer",
        {"tokenizer": "tokenizer.json"},
        "backbones/{backbone}/tokenizer",
        ("synthetic/tokenizer.py",),
    ),
    "backbone_warm_up": Stage(
        "backbones",
        "backbones/{backbone}",
        {"manifest": "manifest.json"},
        "backbones/{backbone}/warm_up",
        ("synthetic/backbone.py",),
    ),
    "benchmark_make": Stage(
        "data", "benchmarks", {"counts": "made.json"}, "benchmarks/make", ("synthetic/benchmark.py",)
    ),
    "benchmark_fetch": Stage(
        "data", "benchmarks", {"manifest": "{benchmark}.manifest.json"}, "benchmarks/{benchmark}-fetch"
    ),
    "benchmark_questions": Stage(
        "data", "benchmarks", {"counts": "questions.json"}, "benchmarks/questions", ("evaluation/questions.py",)
    ),
    "score_references": Stage(
        "data",
        "benchmarks",
        {"records": "references.parquet"},
        "benchmarks/references",
        ("evaluation/references.py",),
    ),
    "verl_settings": Stage(
        "report",
        "settings",
        {"table": "memory.md", "csv": "memory.csv"},
        "settings",
        ("training/settings_files.py",),
    ),
    "train_model": Stage(
        "train",
        f"train/{MODEL}",
        {
            "manifest": "manifest.json",
            "metrics": "metrics.jsonl",
            "responses": "responses.parquet",
            "samples": "samples.jsonl",
        },
        f"train/{MODEL}",
        (
            "training/settings.py",
            "training/shuffled.py",
            *(f"verl_plugin/{name}.py" for name in ("attention", "log_probs", "plugin", "reward", "trainer")),
        ),
        cpu_code=(
            "training/cpu.py",
            *(
                f"verl_plugin/cpu/{name}.py"
                for name in ("platform", "replica", "rollouts", "sender", "server", "worker")
            ),
        ),
        needs="train",
        unit="steps",
        result="metrics",
    ),
    "evaluate_model": Stage(
        "evaluate",
        f"evaluate/{MODEL}",
        {"manifest": "manifest.json", "records": "records.parquet"},
        f"evaluate/{MODEL}",
        ("evaluation/run.py", "inference/engine_process.py"),
        needs="evaluate",
        unit="answers",
        result="records",
    ),
    # Its rule inherits from that of `evaluate_model`, with the code.
    "evaluate_milestone": Stage(
        "evaluate",
        f"evaluate/{MODEL}/step-{{step}}",
        {"manifest": "manifest.json", "records": "records.parquet"},
        f"evaluate/{MODEL}-step-{{step}}",
        needs="evaluate",
        unit="answers",
        result="records",
    ),
    "roll_out": Stage(
        "rollouts",
        f"uncertainty/{MODEL}",
        {"manifest": "manifest.json", "rollouts": "rollouts.parquet"},
        f"uncertainty/{MODEL}",
        ("uncertainty/rollouts.py", "inference/engine_process.py"),
        needs="evaluate",
        unit="shards",
        result="rollouts",
    ),
    "measure_rollouts": Stage(
        "rollouts",
        f"uncertainty/{MODEL}",
        {"measures": "measures.parquet"},
        f"uncertainty/{MODEL}-measures",
        ("uncertainty/measures.py",),
    ),
}
