"""3. Ten steps of GRPO and of EGPO on a tiny model, with verl and the project's settings, to an exported model."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from egpo.config.training import Training
from kit.catalogue import method, tiny_backbone
from kit.step import Step, main

METHODS = ("grpo", "egpo")


def run(step: Step) -> None:
    from kit.models import tiny_model

    start = time.perf_counter()
    model = tiny_model(step)
    step.record("warm-up of the tiny model", time.perf_counter() - start, "s", "on the CPU")
    for name in METHODS:
        with step.attempt(name):
            train(step, name, model)


def training_of(step: Step) -> Training:
    sizes = step.sizes
    return Training(
        platform=step.platform,
        train_batch_size=sizes.prompts,
        rollouts_per_prompt=sizes.rollouts,
        total_training_steps=sizes.steps,
        learning_rate=3e-4,
        save_freq=sizes.steps,
        test_freq=sizes.steps,
        gpu_memory_utilization=0.3,
    )


def train(step: Step, name: str, model: Path) -> None:
    from kit.models import problems_file
    from kit.trainings import run_training

    training, sizes, out = training_of(step), step.sizes, step.folder(name)
    files = problems_file(out / "train.parquet", 4 * sizes.prompts, 1), problems_file(out / "validation.parquet", 8, 1)
    start = time.perf_counter()
    lines = run_training(training, method(name), tiny_backbone(), model, *files, out)
    report(step, name, lines, time.perf_counter() - start)
    exported = sorted(file.name for file in (out / "model").iterdir())
    step.record(f"{name}: exported model", ", ".join(exported))


def report(step: Step, name: str, lines: list[dict], seconds: float) -> None:
    steps = [line for line in lines if "timing_s/step" in line]
    step.record(f"{name}: the whole training", seconds, "s", f"{len(steps)} steps, start and export included")
    for key in ("step", "gen", "old_log_prob", "adv", "update_actor", "update_weights"):
        values = [line[f"timing_s/{key}"] for line in steps[1:]]
        step.record(f"{name}: {key}", statistics.median(values), "s", "median of the steps after the first")
    rewards = [line["critic/score/mean"] for line in steps]
    step.record(f"{name}: reward", rewards[-1], "", f"first step {rewards[0]:.2f}; a tiny model, a few steps")
    step.record(f"{name}: gradient", steps[-1]["actor/grad_norm"], "norm", "of the last step")
    apart = max(line["rollout_corr/log_ppl_abs_diff"] for line in steps)
    step.record(f"{name}: actor against vLLM", apart, "nats a token", "largest of a step's mean difference")


if __name__ == "__main__":
    main("train", run)
