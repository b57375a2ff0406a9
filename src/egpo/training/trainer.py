"""The trainer "egpo": verl's synchronous trainer, which also

- hands the log-probabilities of the behaviour policy to the estimator (egpo.training.estimator),
- says where it is in a heartbeat file and writes one line of metrics a step,
- marks checkpoints as complete, and removes old ones whole.

Selected by trainer.v1.trainer_mode=egpo; its own settings stand in config.egpo_run.
"""

from __future__ import annotations

from typing import Any

import transfer_queue as tq
from omegaconf import DictConfig, open_dict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from egpo.training import checkpoints, estimator
from egpo.training.progress import Heartbeat, MetricsLog

NAME = "egpo"
POLL_SECONDS = 0.05  # verl looks for finished rollouts every 2 s, which is longer than a small step takes


@register_trainer(NAME)
class EgpoTrainer(PPOTrainerSync):
    """See the module."""

    def __init__(self, config: DictConfig) -> None:
        with open_dict(config):
            config.trainer.v1.trainer_mode = "sync"  # the base class compares this literal
        self.settings = config.egpo_run
        self.heartbeat = Heartbeat(self.settings.heartbeat)
        self.saved: int | None = None
        super().__init__(config)
        self.replay_buffer.poll_interval = POLL_SECONDS

    # --- the method ------------------------------------------------------------------------------

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        data = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["old_log_probs", "response_mask"]
        )
        with estimator.handover(data.to_padded_tensor()["old_log_probs"]) as parcel:
            batch = super()._compute_advantage(batch, metrics)
        metrics.update(parcel.metrics)
        return batch

    # --- progress --------------------------------------------------------------------------------

    def _setup(self) -> None:
        self.heartbeat("starting the actor")
        super()._setup()

    def on_init_end(self) -> None:
        self.heartbeat("sending the weights to vLLM")
        super().on_init_end()

    def _log_lines(self) -> None:
        """Let verl's logger write our file of metrics as well."""
        if "egpo" not in self.logger.logger:
            self.logger.logger["egpo"] = MetricsLog(self.settings.metrics, self._on_logged)

    def _on_logged(self, step: int) -> None:
        # Only now: a checkpoint counts when its step's metrics are written too.
        if self.saved == step:
            folder = self.config.trainer.default_local_dir
            checkpoints.mark_complete(folder, step)
            checkpoints.keep_last(folder)

    def on_validate_begin(self) -> None:
        self._log_lines()
        self.heartbeat(f"validating at step {self.global_steps}")

    def on_train_begin(self) -> None:
        self._log_lines()

    def on_step_begin(self) -> None:
        self.heartbeat(f"step {self.global_steps}: rollouts")

    def on_sample_end(self) -> None:
        super().on_sample_end()
        self.heartbeat(f"step {self.global_steps}: update")

    # --- checkpoints -----------------------------------------------------------------------------

    def _save_checkpoint(self) -> None:
        super()._save_checkpoint()
        self.saved = self.global_steps

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> Any:
        batch = super()._update_actor(batch, metrics)
        self.heartbeat(f"step {self.global_steps}: updated")
        return batch
