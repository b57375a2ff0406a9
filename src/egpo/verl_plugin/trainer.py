"""The trainer "egpo": verl's synchronous trainer, which also

- passes the entropies of the behaviour policy's tokens to the estimator (egpo.verl_plugin.estimator),
- names and orders the rollouts of a step, so that their seeds and sums are the same in every run,
- counts the groups that a step generates, and ends a dynamic sampling that finds too few mixed ones,
- writes its phase to a heartbeat file, a line of metrics for each step, and a row for each response,
- marks complete checkpoints and removes old ones,
- saves and ends when it is asked to, and ends if its gradients are not finite.

Selected by trainer.v1.trainer_mode=egpo; its settings are in config.egpo_run.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transfer_queue as tq
from omegaconf import DictConfig, open_dict
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from transformers import GenerationConfig
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.tensordict_utils import assign_non_tensor_stack

from egpo.common.errors import UserError
from egpo.methods.entropy import scope_mask
from egpo.training import checkpoints, responses
from egpo.training.progress import AGAIN, STOP, Heartbeat, MetricsLog, NotFinite, Stopped
from egpo.verl_plugin import estimator, record, tracking
from egpo.verl_plugin.agent_loop import group_name

NAME = "egpo"
END_OF_THOUGHT = "</think>"
# What the actor reads of a batch. The other columns are Python objects, one for each rollout: to move and divide them
# takes longer than the update of a small model.
ACTOR_COLUMNS = ("input_ids", "position_ids", "prompts", "responses", "response_mask", "loss_mask")
UPDATE_COLUMNS = (*ACTOR_COLUMNS, "old_log_probs", "advantages", "ref_log_prob", "rollout_is_weights")
TOKEN_COLUMNS = ("old_log_probs", "entropy", "responses", "response_mask")
POLL_SECONDS = 0.05  # verl looks for finished rollouts every 2 s, which is longer than a small step


def ends_of(tokenizer: Any, model: str) -> set[int]:
    """Ids of the tokens that end a response."""
    given: Any = None
    with suppress(OSError):
        given = GenerationConfig.from_pretrained(model).eos_token_id
    ids = given if isinstance(given, list) else [given]
    return {number for number in (*ids, tokenizer.eos_token_id) if number is not None}


@register_trainer(NAME)
class EgpoTrainer(PPOTrainerSync):
    """The trainer of this module's docstring."""

    def __init__(self, config: DictConfig) -> None:
        with open_dict(config):
            config.trainer.v1.trainer_mode = "sync"  # the base class compares this literal
            # verl would start them where a failure ends the training.
            self.trackers, config.trainer.logger = tuple(config.trainer.logger), []
        self.settings = config.egpo_run
        self.heartbeat = Heartbeat(self.settings.heartbeat)
        self.stop = Path(self.settings.heartbeat).with_name(STOP)
        self.not_finite = NotFinite()
        self.saved: int | None = None
        self.generated = 0  # groups, in this step
        super().__init__(config)
        self.replay_buffer.poll_interval = POLL_SECONDS

    # --- the actor -------------------------------------------------------------------------------

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        batch.fields = list(ACTOR_COLUMNS)
        return super()._compute_old_log_prob(batch, metrics)

    # --- the method ------------------------------------------------------------------------------

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        tokens = self._read(batch, [*TOKEN_COLUMNS, "rm_scores"]).to_padded_tensor()
        with estimator.handover(*self._entropies(tokens)) as parcel:
            batch = super()._compute_advantage(batch, metrics)
        metrics.update(parcel.metrics)
        metrics["egpo/groups/generated"] = self.generated
        metrics["egpo/groups/replaced"] = metrics.get("training/filter_groups/evicted_samples", 0)
        self._record(batch, tokens, parcel)
        return batch

    def _read(self, batch: KVBatchMeta, fields: list[str]) -> TensorDict:
        """Columns of a batch, from verl's queue."""
        return tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)

    def _entropies(self, tokens: TensorDict) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Entropy of each token, and the tokens in scope (None for all), (rows, longest)."""
        calibration = estimator.calibration_of(self.config.algorithm)
        entropies = -tokens["old_log_probs"] if calibration.entropy == "sampled" else tokens["entropy"]
        if not torch.isfinite(entropies).all():
            raise UserError(
                f"step {self.global_steps}: log-probabilities of the policy are not finite, it has diverged. {AGAIN}"
            )
        if calibration.scope == "response":
            return entropies, None
        assert self.end_of_thought is not None
        mask = scope_mask(tokens["responses"], tokens["response_mask"], calibration.scope, self.end_of_thought)
        return entropies, mask

    def _record(self, batch: KVBatchMeta, tokens: TensorDict, parcel: estimator.Handover) -> None:
        """Write the step's responses to their file."""
        assert parcel.step is not None and parcel.real is not None
        real = np.flatnonzero(parcel.real)
        mine = {name: tokens[name][real] for name in TOKEN_COLUMNS}
        extra = list(self._read(batch, ["extra_info"])["extra_info"])
        table = record.table_of(
            number=self.global_steps,
            keys=[batch.keys[row] for row in real],
            problems=[str(extra[row].get("uuid", "")) for row in real],
            rewards=tokens["rm_scores"][real].sum(dim=-1),
            tokens=mine,
            step=parcel.step,
            end_of_thought=self.end_of_thought,
            limit=self.config.data.max_response_length,
            ends=self.ends,
        )
        samples = record.samples_of(table, mine["responses"], self.tokenizer, self.settings.sample_groups)
        responses.write_step(Path(self.settings.work), self.global_steps, table, samples)

    def _init_tokenizer(self) -> None:
        super()._init_tokenizer()
        self.end_of_thought: int | None = self.tokenizer.get_vocab().get(END_OF_THOUGHT)
        self.ends = ends_of(self.tokenizer, self.config.actor_rollout_ref.model.path)
        scope = self.config.algorithm.egpo.scope
        if scope != "response" and self.end_of_thought is None:
            raise UserError(
                f"calibration.scope: '{scope}' needs a tokenizer that has {END_OF_THOUGHT} as one token; the one "
                f"in {self.config.actor_rollout_ref.model.path} does not. Use scope: response."
            )

    # --- rollouts --------------------------------------------------------------------------------

    def _submit_batch_to_rollout(self, batch: TensorDict) -> int:
        places = range(self.generated, self.generated + len(batch))
        self.generated += len(batch)
        size, most = self.config.data.train_batch_size, self.settings.max_num_gen_batches
        if self.generated > most * size:
            raise UserError(
                f"step {self.global_steps} generated {most * size} groups and found fewer than {size} mixed ones. "
                "The problems are too easy or too hard for the model: change the data, or raise "
                "max_num_gen_batches of the method."
            )
        assign_non_tensor_stack(batch, "uid", [group_name(self.global_steps, place) for place in places])
        return super()._submit_batch_to_rollout(batch)

    def _balance_batch(self, batch: KVBatchMeta, *arguments: Any, **named: Any) -> KVBatchMeta:
        # Rollouts come in the order in which they finished, and sums of floats depend on the order.
        pairs = sorted(zip(batch.keys, batch.tags, strict=True), key=lambda pair: pair[0])
        batch.keys, batch.tags = [key for key, _ in pairs], [tag for _, tag in pairs]
        return super()._balance_batch(batch, *arguments, **named)

    # --- progress --------------------------------------------------------------------------------

    def _setup(self) -> None:
        self.heartbeat("starting the actor")
        super()._setup()

    def on_init_end(self) -> None:
        self.heartbeat("sending the weights to vLLM")
        super().on_init_end()

    def _log_lines(self) -> None:
        """Add trackers, and after them the file of metrics, to verl's loggers."""
        loggers: dict[str, Any] = self.logger.logger
        if NAME not in loggers:
            loggers.update(tracking.start(self.trackers, self.config, self.global_steps))
            loggers[NAME] = MetricsLog(self.settings.metrics, self._on_logged)

    def _on_logged(self, step: int) -> None:
        # A checkpoint is complete only when the metrics of its step are written too.
        if self.saved == step:
            folder = self.config.trainer.default_local_dir
            checkpoints.mark_complete(folder, step)
            checkpoints.keep_last(folder)
            if self.stop.exists() and step < self.total_training_steps:
                raise Stopped

    def on_validate_begin(self) -> None:
        self._log_lines()
        self.heartbeat(f"validating at step {self.global_steps}")

    def on_train_begin(self) -> None:
        self._log_lines()

    def on_step_begin(self) -> None:
        self.generated = 0
        self.heartbeat(f"step {self.global_steps}: rollouts")

    def on_sample_end(self) -> None:
        super().on_sample_end()
        self.heartbeat(f"step {self.global_steps}: update")

    # --- checkpoints -----------------------------------------------------------------------------

    def _save_checkpoint(self) -> None:
        super()._save_checkpoint()
        self.saved = self.global_steps

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> Any:
        columns = batch.fields
        batch.fields = [column for column in columns if column in UPDATE_COLUMNS]
        batch = super()._update_actor(batch, metrics)
        batch.fields = columns
        self.not_finite(metrics["actor/grad_norm"], self.global_steps)
        self.heartbeat(f"step {self.global_steps}: updated")
        if self.stop.exists():
            with open_dict(self.config):
                self.config.trainer.save_freq = 1
        return batch
