"""Estimated and measured memory of trainings on a CPU.

    make bench-memory                                        # random models of three sizes, two micro-batches
    .venv/bin/python benchmarks/memory.py config/real.yaml   # that experiment's first model with 12, 16 and 24 GiB

Two steps: Adam's moments do not exist before the first update. Measured is the largest sum of the proportional set
sizes of all processes, looked at twice a second. Writes results/bench/memory.md or memory-given.md; ends with code 1 if
a training takes more than its estimate or, of the random models, less than half of it.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from egpo.backbones.architecture import of_folder
from egpo.common.paths import ROOT, Paths
from egpo.config.backbones import Architecture, Backbone
from egpo.config.files import read_yaml
from egpo.config.loader import load
from egpo.config.methods import Method
from egpo.config.training import Training
from egpo.training.fit import Fit, fit, longest
from egpo.training.launch import train
from egpo.training.limits import Limits
from egpo.training.memory_cpu import BASE, estimate_cpu
from egpo.training.progress import read_lines
from egpo.training.settings import verl_config

OUT = ROOT / "results" / "bench"
PROMPTS, ROLLOUTS, RESPONSE = 3, 4, 128  # all together nearly fill the larger micro-batch
LENGTH = 384  # of a prompt and its response, at most
GIB = 20  # that a training may use here
GIVEN = (12, 16, 24)
STEPS = 2
SHORT = {"total_training_steps": STEPS, "save_freq": STEPS, "test_freq": STEPS}


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


@dataclass
class Trial:
    """A training's inputs. train_file, validation_file: parquet."""

    training: Training
    method: Method
    backbone: Backbone
    model: Path
    train_file: Path
    validation_file: Path

    def measure(self, sizes: Fit, place: Path) -> tuple[float, dict[str, float]]:
        """GiB at most, and the metrics of the first step."""
        from kit.memory_watch import MemoryWatch

        shutil.rmtree(place, ignore_errors=True)
        work = place / "work"
        config = verl_config(
            self.training, self.method, self.backbone, self.model, self.train_file, self.validation_file, 1, work, sizes
        )
        with MemoryWatch("cpu", work / "heartbeat.json") as watch:
            train(config, place, work, Limits(3600, 60, 1200), lambda line: print(line, flush=True))
        print(watch.peaks, flush=True)
        return max(watch.peaks.values()), next(
            line for line in read_lines(place / "metrics.jsonl") if line["step"] == 1
        )


def random_trial(architecture: Architecture, place: Path) -> Trial:
    """A training of a random model, in short texts."""
    from kit.models import problems_file, random_model

    # Made in another process, since what this one takes is counted.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        model = other.submit(random_model, architecture, place / "model", "cpu", LENGTH, "float32").result()
    demo = load(read_yaml(ROOT / "config" / "demo.yaml"), "config/demo.yaml")
    lengths = {"max_model_len": LENGTH, "max_prompt_length": 256, "max_response_length": RESPONSE}
    backbone = Backbone.model_validate(
        {"label": "random", "source": {"kind": "local", "path": "model"}, "max_evaluation_length": RESPONSE, **lengths}
    )
    changes = {"train_batch_size": PROMPTS, "rollouts_per_prompt": ROLLOUTS, **SHORT}
    return Trial(
        demo.experiment.training.model_copy(update=changes),
        demo.methods["grpo"],
        backbone,
        model,
        problems_file(place / "train.parquet", STEPS * PROMPTS),
        problems_file(place / "validation.parquet", 2),
    )


def random_models() -> tuple[str, bool]:
    """The table of the random models, and whether every estimate holds."""
    lines = [
        f"`make bench-memory`: random models, {STEPS} steps of {PROMPTS} x {ROLLOUTS} responses of at most {RESPONSE} "
        f"tokens, float32. GiB of all processes together; {BASE:.1f} are assumed for everything but the model.",
        "",
        "| model | million parameters | tokens of a micro batch | of the step | layers computed again | estimated | "
        "measured | seconds of the step |",
        "| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    holds = True
    for name, architecture in MODELS.items():
        place = OUT / "memory"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        trial = random_trial(architecture, place)
        found = of_folder(trial.model)
        for micro_tokens, recompute in ((min(MICRO), False), (max(MICRO), False), (max(MICRO), True)):
            memory = estimate_cpu(found, longest(trial.backbone), micro_tokens, recompute, GIB)
            sizes = dataclasses.replace(
                fit(found, trial.backbone, trial.training, GIB),
                micro_tokens=micro_tokens,
                recompute=recompute,
                memory=memory,
            )
            peak, metrics = trial.measure(sizes, place / "out")
            holds &= memory.peak / 2 <= peak <= memory.peak
            lines.append(
                f"| {name} | {found.parameters / 1e6:,.0f} | {micro_tokens} | "
                f"{metrics['perf/total_num_tokens']:.0f} | {'yes' if recompute else 'no'} | {memory.peak:.1f} | "
                f"{peak:.1f} | {metrics['timing_s/step']:.0f} |"
            )
            print(lines[-1], flush=True)
    return "\n".join(lines), holds


def given_memory(config: str) -> tuple[str, bool]:
    """The table of an experiment's first model with different memory, and whether each training kept to its own."""
    catalogue = load(read_yaml(Path(config)), config)
    experiment, paths = catalogue.experiment, Paths(catalogue.experiment.experiment)
    name = experiment.backbones[0]
    backbone = catalogue.backbones[name]
    trial = Trial(
        experiment.training.model_copy(update=SHORT),
        catalogue.methods[experiment.methods[0]],
        backbone,
        (paths.warm(name) if backbone.warm_up else paths.backbone(name)) / "model",
        paths.output("data_pool", "train"),
        paths.output("data_pool", "validation"),
    )
    lines = [
        f"`benchmarks/memory.py {config}`: {backbone.label}, {STEPS} steps of {experiment.methods[0]}, numbers of the "
        "first. GiB of all processes together.",
        "",
        "| given | tokens of a micro batch | estimated | measured | mean reward | entropy | gradient norm | seconds of "
        "the step |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    holds = True
    for gib in GIVEN:
        sizes = fit(of_folder(trial.model), backbone, trial.training, gib)
        peak, metrics = trial.measure(sizes, OUT / "memory" / "given")
        holds &= peak <= gib
        lines.append(
            f"| {gib} | {sizes.micro_tokens} | {sizes.memory.peak:.1f} | {peak:.1f} | "
            f"{metrics['critic/score/mean']:.6f} | {metrics['actor/entropy']:.6f} | {metrics['actor/grad_norm']:.6f} | "
            f"{metrics['timing_s/step']:.0f} |"
        )
        print(lines[-1], flush=True)
    return "\n".join(lines), holds


def main(configs: list[str]) -> int:
    sys.path.insert(0, str(ROOT))
    text, holds = given_memory(configs[0]) if configs else random_models()
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / ("memory-given.md" if configs else "memory.md")).write_text(f"# Memory of a training on a CPU\n\n{text}\n")
    print(text)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
