"""A trainer for the kit: the trainer "egpo", which also times verl's GRPO estimator on the batch of each step.

verl's processes load this module through VERL_USE_EXTERNAL_MODULES. EGPO's advantages are computed last, so they are
those of the training.
"""

from __future__ import annotations

import time
from typing import Any

from egpo.verl_plugin.after_import import after_import

NAME = "kit"
VERL, OURS = "kit/advantage_verl_grpo_s", "kit/advantage_egpo_s"


def _register() -> None:
    from omegaconf import open_dict
    from verl.trainer.ppo.v1.trainer_base import register_trainer
    from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

    from egpo.verl_plugin.trainer import EgpoTrainer

    @register_trainer(NAME)
    class BothEstimators(EgpoTrainer):
        def _compute_advantage(self, batch: Any, metrics: dict) -> Any:
            ours = self.config.algorithm.adv_estimator
            start = time.perf_counter()
            with open_dict(self.config):
                self.config.algorithm.adv_estimator = "grpo"
            batch = PPOTrainerSync._compute_advantage(self, batch, {})
            with open_dict(self.config):
                self.config.algorithm.adv_estimator = ours
            middle = time.perf_counter()
            batch = super()._compute_advantage(batch, metrics)
            metrics |= {VERL: middle - start, OURS: time.perf_counter() - middle}
            return batch


after_import("verl.trainer.ppo.v1", _register)
