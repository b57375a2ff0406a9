"""Names that several modules of a training share: sections of verl's settings, environment variables."""

from __future__ import annotations

ACTOR, ROLLOUT, MODEL = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.model"
ADDRESS = "RAY_ADDRESS"
RUN_FOLDER = "EGPO_RUN_FOLDER"  # a folder of one training, with a path short enough for Ray's sockets
