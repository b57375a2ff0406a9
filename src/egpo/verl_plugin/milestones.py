"""The trainer of a training with milestones: it also saves after these steps, and keeps the models.

A module of its own, which does not count as code of a training: it changes no step, and so no result.
"""

from __future__ import annotations

from verl.utils.debug import marked_timer

from egpo.training import export
from egpo.verl_plugin.trainer import EgpoTrainer


class MilestoneTrainer(EgpoTrainer):
    """The trainer "egpo" with milestones."""

    def _is_milestone(self) -> bool:
        return self.global_steps in export.milestones(self.config)

    def on_step_end(self) -> None:
        # verl saves right before this, where the step is one of save_freq.
        if self._is_milestone() and self.saved != self.global_steps:
            with marked_timer("save_checkpoint", self.timing_raw):
                self._save_checkpoint()
        super().on_step_end()

    def _save_checkpoint(self) -> None:
        super()._save_checkpoint()
        if self._is_milestone():
            export.export_milestone(self.config, self.global_steps)
