"""What verl measures at each step: throughput, memory, phases, and how far actor and vLLM are apart."""

from __future__ import annotations

import math
import statistics
from typing import Any

DIFFERENCE = "rollout_corr/log_ppl_abs_diff"
# |mean log-probability of a response by the actor less that by vLLM|, in nats per token, mean over the responses of a
# step. EGPO's weights are ratios of such means, which are some tenths of a nat: a difference of this size moves them by
# some percent, and importance ratios are then no longer near 1.
BOUND = 0.02
MEASURES = {
    "perf/throughput": "tokens/s per GPU",
    "timing_s/step": "step (s)",
    "timing_s/gen": "rollouts (s)",
    "timing_s/old_log_prob": "log-probs (s)",
    "timing_s/adv": "advantages (s)",
    "timing_s/update_actor": "update (s)",
    "timing_s/update_weights": "weights to vLLM (s)",
    "timing_s/save_checkpoint": "checkpoint (s)",
    "timing_s/testing": "validation (s)",
    "actor/perf/max_memory_allocated_gb": "GPU memory (GB)",
    "actor/perf/cpu_memory_used_gb": "host memory (GB)",
    DIFFERENCE: "actor - vLLM (nats)",
    "actor/pg_clipfrac": "clipped",
    "actor/pg_clipfrac_lower": "clipped by clip_ratio_c",
    "response_length/clip_ratio": "truncated",
}
MOST = {name for name in MEASURES if "memory" in name or name == DIFFERENCE}  # the largest counts, not the median


def measured(lines: list[dict[str, Any]]) -> dict[str, float]:
    """Of the steps in metrics.jsonl, the median of each measure (memory, difference: the largest); nan without any."""
    found = {}
    for name in MEASURES:
        values = [line[name] for line in lines if name in line and line["step"] > 0]
        found[name] = (max(values) if name in MOST else statistics.median(values)) if values else math.nan
    return found


def warning(lines: list[dict[str, Any]]) -> str | None:
    """A line on the steps where actor and vLLM are too far apart, or not compared; None where there is no such step."""
    steps = [line for line in lines if line["step"] > 0]
    beyond = [line["step"] for line in steps if line.get(DIFFERENCE, 0.0) > BOUND]
    # A number that is not finite is not in the file: the worst difference looks like none.
    unknown = [line["step"] for line in steps if DIFFERENCE not in line and line.keys() & MEASURES.keys()]
    found = []
    if beyond:
        worst = max(line.get(DIFFERENCE, 0.0) for line in steps)
        found.append(
            f"the log-probabilities of the actor and of vLLM differ by up to {worst:.3f} nats per token, above {BOUND} "
            f"in {len(beyond)} of {len(steps)} steps (first: {beyond[0]}): weights and ratios are made of them"
        )
    if unknown:
        found.append(
            f"the difference of actor and vLLM is not measured in {len(unknown)} of {len(steps)} steps (first: "
            f"{unknown[0]}), as where it is not a finite number"
        )
    return f"{'; '.join(found)}. Look at dtype, attention and temperature on both sides." if found else None
