"""Estimated and measured memory of trainings on a CPU: three sizes of model, two of micro-batch.

    make bench-memory

Random models, one step of 32 responses. Measured is the largest sum of the proportional set sizes of all processes,
looked at twice a second. Writes results/bench/memory.md; ends with code 1 if a training takes more than its estimate,
or less than half of it.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time

from egpo.backbones.architecture import of_folder
from egpo.common.paths import ROOT
from egpo.config.backbones import Architecture, Backbone
from egpo.config.files import read_yaml
from egpo.config.loader import load
from egpo.training.fit import fit, longest
from egpo.training.launch import train
from egpo.training.limits import Limits
from egpo.training.memory_cpu import BASE, estimate_cpu
from egpo.training.progress import read_lines
from egpo.training.settings import verl_config

OUT = ROOT / "results" / "bench"
PROMPTS, ROLLOUTS, RESPONSE = 4, 8, 128
GIB = 20  # that a training may use here


def shape(layers: int, hidden: int, feed_forward: int, heads: int, kv_heads: int, vocabulary: int) -> Architecture:
    return Architecture(
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=feed_forward,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocabulary,
        tie_word_embeddings=True,
    )


MODELS = {
    "8 layers of 384": shape(8, 384, 1024, 6, 2, 16_384),
    "SmolLM2-135M's shape": shape(30, 576, 1536, 9, 3, 49_152),
    "Qwen2.5-0.5B's shape": shape(24, 896, 4864, 14, 2, 151_936),
}
MICRO = (512, 2048)


def measured(model: Architecture, micro_tokens: int, recompute: bool) -> tuple[float, float, float]:
    """(estimated GiB, measured GiB, seconds of the step) of a training."""
    from kit.memory_watch import MemoryWatch
    from kit.models import problems_file, random_model

    place = OUT / "memory"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    demo = load(read_yaml(ROOT / "config" / "demo.yaml"), "config/demo.yaml")
    lengths = {"max_model_len": 384, "max_prompt_length": 256, "max_response_length": RESPONSE}
    backbone = Backbone.model_validate(
        {"label": "random", "source": {"kind": "local", "path": "model"}, "max_evaluation_length": RESPONSE, **lengths}
    )
    training = demo.experiment.training.model_copy(
        update={
            "train_batch_size": PROMPTS,
            "rollouts_per_prompt": ROLLOUTS,
            "total_training_steps": 1,
            "save_freq": 1,
            "test_freq": 1,
        }
    )
    folder = random_model(model, place / "model", "cpu", lengths["max_model_len"], "float32")
    files = problems_file(place / "train.parquet", PROMPTS), problems_file(place / "validation.parquet", 2)
    found = of_folder(folder)
    memory = estimate_cpu(found, longest(backbone), micro_tokens, recompute, GIB)
    sizes = dataclasses.replace(
        fit(found, backbone, training, GIB), micro_tokens=micro_tokens, recompute=recompute, memory=memory
    )
    work = place / "out" / "work"
    config = verl_config(training, demo.methods["grpo"], backbone, folder, *files, 1, work, sizes)
    with MemoryWatch("cpu", work / "heartbeat.json") as watch:
        train(config, place / "out", work, Limits(3600, 60, 1200), lambda line: print(line, flush=True))
    print(watch.peaks, flush=True)
    step = read_lines(place / "out" / "metrics.jsonl")[-1]["timing_s/step"]
    return memory.peak, max(watch.peaks.values()), step


def main() -> int:
    sys.path.insert(0, str(ROOT))
    rows, wrong = [], []
    for name, model in MODELS.items():
        for micro_tokens in MICRO:
            start = time.monotonic()
            for recompute in (False, True) if micro_tokens == max(MICRO) else (False,):
                estimated, peak, step = measured(model, micro_tokens, recompute)
                again = "yes" if recompute else "no"
                rows.append(
                    f"| {name} | {model.parameters / 1e6:,.0f} | {micro_tokens} | {again} | {estimated:.1f} | "
                    f"{peak:.1f} | {step:.0f} |"
                )
                print(rows[-1], f"{time.monotonic() - start:.0f} s", flush=True)
                if not estimated / 2 <= peak <= estimated:
                    wrong.append(rows[-1])
    lines = [
        "# Memory of a training on a CPU",
        "",
        f"`make bench-memory`: random models, one step of {PROMPTS} x {ROLLOUTS} responses of at most {RESPONSE} "
        f"tokens, float32. GiB of all processes together; {BASE:.0f} are assumed for everything but the model.",
        "",
        "| model | million parameters | tokens of a micro batch | layers computed again | estimated | measured | "
        "seconds of the step |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: |",
        *rows,
    ]
    text = "\n".join(lines) + "\n"
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "memory.md").write_text(text)
    print(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
