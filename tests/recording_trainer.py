"""A trainer for test_contract.py: the trainer "egpo", which also records what verl passes to its hooks.

verl's processes load this module through VERL_USE_EXTERNAL_MODULES. It removes one response from every batch, as if its
rollout had failed, so that verl adds padding rows.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from egpo.verl_plugin.after_import import after_import

NAME = "recording"


def _describe(value: Any) -> Any:
    """dtype and sizes of a tensor, the type of anything else."""
    if hasattr(value, "is_nested") and value.is_nested:
        return {"dtype": str(value.dtype), "rows": value.offsets().diff().tolist()}
    if hasattr(value, "shape"):
        return {"dtype": str(value.dtype), "shape": list(value.shape)}
    return {"type": type(value).__name__}


def _register() -> None:
    import transfer_queue as tq
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY
    from verl.trainer.ppo.v1.trainer_base import register_trainer

    from egpo.verl_plugin.estimator import NAME as ESTIMATOR
    from egpo.verl_plugin.trainer import EgpoTrainer

    file = Path(os.environ["RECORDING"])
    ours = ADV_ESTIMATOR_REGISTRY[ESTIMATOR]

    def record(**what: Any) -> None:
        with file.open("a") as lines:
            lines.write(json.dumps(what) + "\n")

    def estimator(**arguments: Any) -> Any:
        index = [str(uid) for uid in arguments["index"]]
        record(event="estimator", arguments={name: _describe(value) for name, value in arguments.items()}, index=index)
        return ours(**arguments)

    @register_trainer(NAME)
    class Recording(EgpoTrainer):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            ADV_ESTIMATOR_REGISTRY[ESTIMATOR] = estimator
            sample = self.replay_buffer.sample

            def one_less(**arguments: Any) -> Any:
                batch, metrics = sample(**arguments)
                if arguments["partition_id"] == "train":
                    batch.keys.pop(), batch.tags.pop()
                return batch, metrics

            self.replay_buffer.sample = one_less

        def _compute_advantage(self, batch: Any, metrics: dict) -> Any:
            held = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id)
            fields = {name: _describe(held[name]) for name in held.keys()}  # noqa: SIM118 (a tensordict)
            record(event="_compute_advantage", keys=batch.keys, tags=batch.tags, fields=fields)
            return super()._compute_advantage(batch, metrics)

    def hook(name: str) -> Any:
        plain = getattr(EgpoTrainer, name)

        def recorded(self: Any, *arguments: Any, **named: Any) -> Any:
            record(event=name)
            return plain(self, *arguments, **named)

        return recorded

    for name in HOOKS:
        setattr(Recording, name, hook(name))


HOOKS = (
    "_init_tokenizer",
    "on_init_end",
    "on_validate_begin",
    "on_train_begin",
    "on_step_begin",
    "_submit_batch_to_rollout",
    "on_sample_end",
    "_update_actor",
    "_save_checkpoint",
    "on_step_end",
    "_on_logged",
)

if "RECORDING" in os.environ:
    after_import("egpo.verl_plugin.trainer", _register)
