"""What the methods' advantage costs at the paper's shape, beside verl's own GRPO advantage.

    make bench

The functions alone, and the whole `_compute_advantage` of verl's trainer and of ours on a real TransferQueue, whose
fetch of the log-probabilities is what our plug-in adds. Prints a table and writes it to results/bench/advantage.md;
ends with code 1 if a target is missed.
"""

from __future__ import annotations

import os

# Before torch and verl are imported, as in a training on a CPU.
os.environ.update(VERL_PLATFORM="cpu", GOMP_SPINCOUNT="10000", RAY_USAGE_STATS_ENABLED="0")
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray on the loopback interface only

import logging
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray
import torch
import transfer_queue as tq
from omegaconf import DictConfig
from tensordict import TensorDict
from torch.profiler import ProfilerActivity, profile
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage, compute_grpo_vectorized_outcome_advantage
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from egpo.common.paths import ROOT
from egpo.config.backbones import Backbone
from egpo.config.files import read_yaml
from egpo.config.loader import load
from egpo.config.methods import Method
from egpo.config.training import Training
from egpo.methods.entropy import scope_mask
from egpo.training.settings import verl_config
from egpo.verl_plugin.estimator import compute_egpo_advantage, handover
from egpo.verl_plugin.trainer import EgpoTrainer

PROMPTS, ROLLOUTS, LONGEST = 64, 16, 3072
REPETITIONS = 15
END_OF_THOUGHT = 7
VERL = "verl GRPO"
ALONE, TRAINER = "function alone", "in the trainer"
METHODS = {name: Method.model_validate(entry) for name, entry in read_yaml(ROOT / "config/methods.yaml").items()}
ANSWER = METHODS["egpo"].calibration.model_copy(update={"scope": "answer"})
OURS = {
    "grpo": METHODS["grpo"],
    "egpo": METHODS["egpo"],
    "edge_grpo": METHODS["edge_grpo"],
    "egpo, answer scope": METHODS["egpo"].model_copy(update={"calibration": ANSWER}),
}
PARAMETERS = 1.54e9  # of the paper's smallest models
PEAKS = {"A100": 312e12, "H100": 989e12}  # dense bf16 FLOP/s, the vendor's data sheets
GPUS = 8


def made_up_batch() -> dict[str, Any]:
    """Responses of 256 to 3072 tokens in all three kinds of groups, rows shuffled, every tensor (rows, LONGEST)."""
    generator = torch.Generator().manual_seed(1)
    rows = PROMPTS * ROLLOUTS
    lengths = torch.randint(256, LONGEST + 1, (rows,), generator=generator)
    lengths[0] = LONGEST
    pass_rate = torch.rand(PROMPTS, generator=generator) * 1.6 - 0.3  # beyond 0 and 1: uniform groups
    order = torch.randperm(rows, generator=generator)
    prompt = (torch.arange(rows) // ROLLOUTS)[order]
    rewards = torch.where(torch.rand(rows, generator=generator) < pass_rate[prompt], 1.0, -1.0)
    mask = (torch.arange(LONGEST) < lengths[:, None]).long()
    scores = torch.zeros(rows, LONGEST)
    scores[torch.arange(rows), lengths - 1] = rewards
    entropies = torch.rand(rows, LONGEST, generator=generator) * mask
    return {
        "uid": np.array([f"{number:04d}" for number in prompt.tolist()], dtype=object),
        "response_mask": mask,
        "rm_scores": scores,
        "old_log_probs": -entropies,
        "entropy": entropies * 1.1,
        "responses": torch.randint(0, 2000, (rows, LONGEST), generator=generator) * mask,
        "rollout_log_probs": -entropies,
    }


def algorithm(method: Method) -> DictConfig:
    """verl's config for the paper's smallest backbone."""
    paper = load(read_yaml(ROOT / "config/paper.yaml"), "config/paper.yaml")
    training: Training = paper.experiment.training
    backbone: Backbone = paper.backbones["qwen2.5-math-1.5b"]
    nowhere = Path("/nowhere")
    return verl_config(training, method, backbone, nowhere, nowhere, nowhere, 1, nowhere)


def functions(batch: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """The estimators alone, all on the same tensors."""
    arguments = {"token_level_rewards": batch["rm_scores"], "response_mask": batch["response_mask"]}

    def ours(method: Method) -> Callable[[], Any]:
        config, calibration = algorithm(method).algorithm, method.calibration

        def call() -> Any:
            entropies = batch["entropy"] if calibration.entropy == "distribution" else -batch["old_log_probs"]
            scope = None
            if calibration.scope != "response":
                scope = scope_mask(batch["responses"], batch["response_mask"], calibration.scope, END_OF_THOUGHT)
            with handover(entropies, scope):
                return compute_egpo_advantage(**arguments, config=config, index=batch["uid"])

        return call

    return {
        VERL: lambda: compute_grpo_outcome_advantage(**arguments, index=batch["uid"]),
        "verl GRPO, vectorised": lambda: compute_grpo_vectorized_outcome_advantage(**arguments, index=batch["uid"]),
        **{name: ours(method) for name, method in OURS.items()},
    }


def as_nested(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    rows = [row[:length] for row, length in zip(values, mask.sum(1).tolist(), strict=True)]
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def queue(batch: dict[str, Any]) -> KVBatchMeta:
    """The batch in a real TransferQueue, in the fields that verl's rollout and log-prob pass write."""
    ray.init(num_cpus=16, include_dashboard=False, log_to_driver=False, object_store_memory=2**30)
    settings = algorithm(METHODS["grpo"]).transfer_queue
    settings.backend.SimpleStorage.num_data_storage_units = 1
    tq.init(settings)
    uids, rows = batch["uid"], len(batch["uid"])
    keys = [f"{uid}_{row}_0" for row, uid in enumerate(uids)]
    fields = {name: as_nested(batch[name], batch["response_mask"]) for name in batch if name != "uid"}
    held = TensorDict(fields, batch_size=rows)
    held["uid"] = list(uids)
    return tq.kv_batch_put(keys=keys, partition_id="train", fields=held, tags=[{"is_padding": False}] * rows)


def trainers(meta: KVBatchMeta) -> dict[str, Callable[[], Any]]:
    """`_compute_advantage` of the trainers, made without the actor and vLLM, which it does not touch."""

    def of(cls: type, method: Method, **changes: Any) -> Callable[[], Any]:
        trainer = object.__new__(cls)
        trainer.config = algorithm(method)
        trainer.config.algorithm.update(changes)
        trainer.end_of_thought, trainer.generated = END_OF_THOUGHT, PROMPTS
        return lambda: trainer._compute_advantage(meta, {})

    ours = {name: of(EgpoTrainer, method) for name, method in OURS.items()}
    return {VERL: of(PPOTrainerSync, METHODS["grpo"], adv_estimator="grpo"), **ours}


def peak_mib(call: Callable[[], Any]) -> float:
    """Most memory that torch held at one time for the call, above its inputs, in MiB.

    From torch's own allocator, by the running sum of what it allocates and frees: unlike the resident set it counts no
    memory that the process keeps for later.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    held = most = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most / 2**20


def timed(calls: dict[str, Callable[[], Any]], where: str) -> pd.DataFrame:
    """Times of interleaved repetitions, so that other load on the machine affects all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repetition in range(REPETITIONS + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if repetition:  # the first one warms up
                times[name].append(1000 * (time.perf_counter() - start))
    rows = []
    for name, call in calls.items():
        low, median, high = statistics.quantiles(times[name], n=4)
        ratio = median / statistics.median(times[VERL])
        rows.append([where, name, median, low, high, ratio, peak_mib(call)])
    return pd.DataFrame(rows, columns=["where", "method", "ms", "low", "high", "ratio", "mib"])


def least_seconds(peak: float) -> float:
    """The shortest that a step can take on GPUS of `peak` FLOP/s: 2 P FLOPs a token for log-probabilities and 6 P for
    the update, all responses of full length, at the full rate, and no time for rollouts."""
    return 8 * PARAMETERS * PROMPTS * ROLLOUTS * LONGEST / (GPUS * peak)


def timer_shares() -> list[str]:
    """What verl's own timers say of the trainings whose results are here."""
    lines = []
    for file in sorted((ROOT / "results").glob("demo*/train/*/*/seed-*/metrics.jsonl")):
        steps = pd.read_json(file, lines=True).query("step > 1")
        share = (100 * steps["timing_s/adv"] / steps["timing_s/step"]).median()
        adv = 1000 * steps["timing_s/adv"].median()
        lines.append(f"- {'/'.join(file.parts[-6:-2])}: {adv:.0f} ms, {share:.2f}% of a step (medians, on a CPU)")
    return lines or ["- `make demo` has not been run here."]


def report(table: pd.DataFrame) -> bool:
    """Write and print the page; True if every target is met."""
    lines = [
        f"# The advantage of {PROMPTS} prompts x {ROLLOUTS} rollouts x up to {LONGEST} tokens",
        "",
        f"`make bench` on {os.cpu_count()} CPU cores, torch {torch.__version__}; {REPETITIONS} interleaved "
        "repetitions, medians with quartiles; memory is the peak of torch's allocations above the inputs.",
        "",
        "| where | method | ms | quartiles | to verl's GRPO | MiB |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in table.itertuples():
        spread = f"{row.low:.0f} to {row.high:.0f}"
        lines.append(f"| {row.where} | {row.method} | {row.ms:.0f} | {spread} | {row.ratio:.2f} | {row.mib:.0f} |")
    alone, whole = (table[table["where"] == where].set_index("method")["ms"] for where in (ALONE, TRAINER))
    added = whole["egpo"] - whole[VERL]
    lines += ["", "Share of the shortest step that the hardware allows (arithmetic; no GPU ran):", ""]
    for name, peak in PEAKS.items():
        seconds = least_seconds(peak)
        lines.append(
            f"- {GPUS} {name}, {seconds:.1f} s: EGPO's advantage {alone['egpo'] / 10 / seconds:.2f}%, "
            f"what our plug-in adds to verl's trainer {added / 10 / seconds:.2f}% ({added:.0f} ms), "
            f"verl's own GRPO in its trainer {whole[VERL] / 10 / seconds:.2f}%"
        )
    lines += ["", "verl's timer `timing_s/adv` in real trainings of tiny models:", "", *timer_shares()]
    share, limit = alone["egpo"] / 10 / least_seconds(max(PEAKS.values())), max(2 * alone[VERL], 50)
    met = {
        f"under 1% of the shortest step: {share:.2f}%": share < 1,
        f"at most {limit:.0f} ms, twice verl's GRPO or 50: {alone['egpo']:.0f} ms": alone["egpo"] <= limit,
    }
    lines += ["", "Targets:", ""]
    lines += [f"- {target}: {'met' if reached else 'MISSED'}" for target, reached in met.items()]
    text = "\n".join(lines) + "\n"
    out = ROOT / "results/bench/advantage.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    print(text)
    return all(met.values())


def main() -> int:
    logging.disable(logging.WARNING)  # the queue repeats one at every fetch
    batch = made_up_batch()
    tables = [timed(functions(batch), ALONE)]
    try:
        tables.append(timed(trainers(queue(batch)), TRAINER))
    finally:
        ray.shutdown()
    return 0 if report(pd.concat(tables)) else 1


if __name__ == "__main__":
    sys.exit(main())
