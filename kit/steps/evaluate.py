"""4. One evaluation of the trained model through evalscope, at several numbers of requests in flight."""

from __future__ import annotations

import json
import time
from pathlib import Path

from kit.step import Step, main


def run(step: Step) -> None:
    from egpo.config.benchmarks import Benchmark
    from egpo.config.evaluation import Evaluation
    from egpo.synthetic.benchmark import write_benchmark

    source = {"kind": "synthetic", "seed": 11, "templates": "sums"}
    entry = {
        "label": "synthetic",
        "adapter": "math_500",
        "source": source,
        "num_questions": step.sizes.questions,
        "num_fewshot": 0,
    }
    benchmark, folder = Benchmark.model_validate(entry), step.folder("benchmark")
    write_benchmark(benchmark, folder)
    model = trained(step)
    for max_num_seqs in step.sizes.concurrencies:
        settings = Evaluation(
            seeds=(1,),
            platform=step.platform,
            dtype="bfloat16" if step.platform == "cuda" else "float32",
            kv_cache_gib=1,
            max_num_seqs=max_num_seqs,
        )
        with step.attempt(f"{max_num_seqs} in flight"):
            evaluate(step, model, benchmark, folder, settings)


def trained(step: Step) -> Path:
    """The model of the step `train`, or the one that it starts from if it has exported none."""
    found = step.work / "train" / "egpo" / "model"
    if found.is_dir():
        return found
    start = step.work / "tiny"
    if not start.is_dir():
        raise FileNotFoundError(f"{found}: run the step `train` first, it makes the model")
    step.record("model", "the one before the training", note="the step `train` has exported none")
    return start


def evaluate(step: Step, model: Path, benchmark: object, folder: Path, settings: object) -> None:
    from egpo.evaluation.run import evaluate as evaluate_model
    from kit.catalogue import tiny_backbone

    name, out = f"{settings.max_num_seqs} in flight", step.folder(str(settings.max_num_seqs))  # type: ignore[attr-defined]
    start = time.perf_counter()
    evaluate_model(
        model, tiny_backbone(), {"synthetic": benchmark}, {"synthetic": folder}, settings, out / "work", out, "kit",
        lambda text: print(text, flush=True),
    )  # fmt: skip
    whole = time.perf_counter() - start
    manifest = json.loads((out / "manifest.json").read_text())
    found = manifest["results"]["synthetic"]
    step.record(name, 1000 * manifest["seconds"] / found["records"], "ms an answer", f"{found['records']} answers")
    step.record(f"{name}: loading the model", whole - manifest["seconds"], "s")
    step.record(f"{name}: accuracy", found["accuracy"], "", f"{found['status']}, {found['truncated']} cut off; tiny")


if __name__ == "__main__":
    main("evaluate", run)
