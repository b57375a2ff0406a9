"""From a step of verl to rows of egpo.training.responses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from egpo.methods.advantage import Calibrated
from egpo.methods.entropy import response_entropy, scope_mask
from egpo.training.responses import SCHEMA

KINDS = ("mixed", "entirely_correct", "entirely_incorrect")


def _kinds(step: Calibrated) -> list[str]:
    """(n,) the kind of each response's group."""
    stacked = torch.stack([getattr(step.kinds, kind) for kind in KINDS]).int()
    return [KINDS[number] for number in step.groups.spread(stacked.argmax(dim=0)).tolist()]


def table_of(
    number: int,
    keys: Sequence[str],
    problems: Sequence[str],
    rewards: torch.Tensor,
    tokens: dict[str, torch.Tensor],
    step: Calibrated,
    end_of_thought: int | None,
    limit: int,
    ends: set[int],
) -> pa.Table:
    """The rows of a step's n responses, in verl's order.

    Args:
        number: of the step.
        keys: verl's, `<uid>_<rollout>_<index>`.
        problems: n uuids.
        rewards: (n,).
        tokens: old_log_probs, entropy, responses and response_mask, (n, longest) each.
        end_of_thought: id of </think>; None if there is none.
        limit: tokens of a response at most.
        ends: ids of the tokens that end a response.
    """
    mask, responses = tokens["response_mask"], tokens["responses"]
    sampled = -tokens["old_log_probs"]
    last = responses.gather(1, (step.lengths - 1).unsqueeze(1)).squeeze(1).tolist()
    lengths = step.lengths.tolist()
    columns: dict[str, Any] = {
        "step": [number] * len(keys),
        "problem": list(problems),
        "group": [key.split("_")[0] for key in keys],
        "rollout": [int(key.split("_")[1]) for key in keys],
        "reward": rewards.float().numpy(),
        "correct": (rewards > -0.5).numpy(),  # where a control has drawn outcomes, these are still the true ones
        "length": lengths,
        "truncated": [length >= limit and end not in ends for length, end in zip(lengths, last, strict=True)],
        "entropy": response_entropy(sampled, mask).numpy(),
        "entropy_distribution": response_entropy(tokens["entropy"], mask).numpy(),
        "entropy_used": step.entropies.numpy(),
        "weight": step.weights.values.numpy(),
        "base": step.base.numpy(),
        "advantage": step.advantages.numpy(),
        "kind": _kinds(step),
    }
    for part in ("thinking", "answer"):
        columns[f"entropy_{part}"] = (
            [None] * len(keys)
            if end_of_thought is None
            else response_entropy(sampled, scope_mask(responses, mask, part, end_of_thought)).numpy()
        )
    arrays = [_array(columns[field.name], field.type) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(values, type=kind.value_type).dictionary_encode().cast(kind)
    if isinstance(values, np.ndarray):
        return pa.array(values, type=kind, from_pandas=False)  # nan stays nan
    return pa.array(values, type=kind)


def samples_of(table: pa.Table, responses: torch.Tensor, tokenizer: Any, groups: int) -> Iterator[dict[str, Any]]:
    """The texts of the first groups of a step, in the order of their names."""
    rows = table.select(["step", "problem", "group", "rollout", "correct", "length", "advantage"]).to_pylist()
    wanted = set(sorted({row["group"] for row in rows})[:groups])
    chosen = [(row["group"], row["rollout"], at) for at, row in enumerate(rows) if row["group"] in wanted]
    for _, _, at in sorted(chosen):
        length = rows[at]["length"]
        yield {**rows[at], "text": tokenizer.decode(responses[at, :length].tolist(), skip_special_tokens=False)}
