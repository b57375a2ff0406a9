"""5. Two steps of EGPO on a random model of Qwen2.5-Math-1.5B's shape, at the paper's lengths: memory and speed.

Each is compared with the estimates of egpo.training.memory and egpo.cli.plan.cost. In the same steps verl's GRPO
estimator is timed on the same batch: the difference is the cost of EGPO's estimator.
"""

from __future__ import annotations

import os
import time
from typing import Any

from egpo.cli.plan import cost
from egpo.common.paths import ROOT
from egpo.config.backbones import Backbone
from egpo.config.files import read_yaml
from egpo.config.training import Training
from kit import both_estimators
from kit.catalogue import large_backbone, method
from kit.step import Step, main

STEPS = 2
# The optimiser's state is on one GPU here, not on eight as in the paper, which leaves less for vLLM.
ROLLOUT_MEMORY = 0.4


def backbone_of(step: Step) -> Backbone:
    lengths = {"max_prompt_length": step.sizes.large_prompt_tokens, "max_response_length": step.sizes.large_response}
    return large_backbone().model_copy(update=lengths)


def training_of(step: Step) -> Training:
    """The paper's with other numbers of prompts, rollouts, steps and GPUs."""
    changes = {
        "platform": step.platform,
        "total_epochs": None,
        "total_training_steps": STEPS,
        "save_freq": STEPS,
        "test_freq": STEPS,
        "train_batch_size": step.sizes.large_prompts,
        "rollouts_per_prompt": step.sizes.large_rollouts,
        "gpus_per_node": 1,
        "gpu_memory_utilization": ROLLOUT_MEMORY,
        "overrides": {"trainer.v1.trainer_mode": both_estimators.NAME, "trainer.test_freq": -1},
    }
    return Training.model_validate(read_yaml(ROOT / "config" / "paper.yaml")["training"] | changes)


def run(step: Step) -> None:
    from egpo.backbones.architecture import of_folder
    from egpo.training.fit import MOST, longest
    from egpo.training.memory import estimate
    from kit.memory_watch import MemoryWatch
    from kit.models import problems_file, random_model
    from kit.trainings import run_training

    sizes, out, training, backbone = step.sizes, step.folder("training"), training_of(step), backbone_of(step)
    start = time.perf_counter()
    model = random_model(sizes.large, out / "start", step.device, sizes.large_prompt_tokens + sizes.large_response)
    step.record("random model made and written", time.perf_counter() - start, "s")
    os.environ["VERL_USE_EXTERNAL_MODULES"] = both_estimators.__name__
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    files = problems_file(out / "train.parquet", 4 * sizes.large_prompts), problems_file(out / "validation.parquet", 2)
    expected = estimate(of_folder(model), backbone, training, max(MOST, longest(backbone)))
    start = time.perf_counter()
    with MemoryWatch(step.platform, out / "work" / "heartbeat.json") as watch:
        lines = run_training(training, method("egpo"), backbone, model, *files, out)
    step.record("the whole training", time.perf_counter() - start, "s", f"{STEPS} steps, start and export included")
    memory(step, watch.peaks, lines, expected)
    speed(step, [line for line in lines if "timing_s/step" in line][-1], training)


def memory(step: Step, peaks: dict[str, float], lines: list[dict], expected: Any) -> None:
    where = "the GPU, all processes" if step.platform == "cuda" else "all processes of the training"
    for phase, peak in peaks.items():
        step.record(f"memory in the phase '{phase}'", peak, "GiB", where)
    torchs = max(line.get("actor/perf/max_memory_reserved_gb", 0) for line in lines)
    step.record("most reserved by the actor's torch", torchs, "GiB", "verl's metric")
    note = "memory.py; for GPUs" + ("" if step.platform == "cuda" else ", so meaningless here")
    step.record("estimate of an update", expected.update, "GiB", note)
    step.record("estimate of the rollouts", expected.rollout, "GiB", note)


def speed(step: Step, last: dict, training: Training) -> None:
    """Record the speed of each phase of a step, from its metrics `last`."""
    responses = training.train_batch_size * training.rollouts_per_prompt
    tokens = last["response_length/mean"] * responses
    everything = last["perf/total_num_tokens"]
    step.record("response length", last["response_length/mean"], "tokens", f"{responses} responses")
    planned = cost.decode_seconds(
        step.sizes.large, responses, last["response_length/mean"], last["response_length/max"]
    )
    note = f"{last['timing_s/gen']:.1f} s; `plan` estimates {planned:.1f} s for an H100"
    step.record("decoding", tokens / last["timing_s/gen"], "tokens/s", note)
    for name, key, flops in (("log-probabilities", "old_log_prob", 2), ("update", "update_actor", 6)):
        seconds = last[f"timing_s/{key}"]
        rate = everything / seconds
        note = f"{seconds:.1f} s"
        if step.platform == "cuda":
            share = rate * flops * step.sizes.large.parameters / cost.PEAK
            note += f"; {share:.1%} of an H100's peak at {flops} P FLOPs, where `plan` assumes {cost.UTILISATION:.0%}"
        step.record(name, rate, "tokens/s", note)
    for key in ("step", "adv", "update_weights", "save_checkpoint"):
        step.record(f"time of {key}", last[f"timing_s/{key}"], "s", "last step")
    ours, verls = last[both_estimators.OURS], last[both_estimators.VERL]
    step.record("advantage by verl's GRPO", 1000 * verls, "ms", "trainer and queue included")
    note = f"{(ours - verls) / last['timing_s/step']:.2%} of the step more"
    step.record("advantage by EGPO", 1000 * ours, "ms", note)


if __name__ == "__main__":
    main("paper_size", run)
