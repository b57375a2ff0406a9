"""Names that several modules of a training share: sections of verl's settings, environment variables."""

from __future__ import annotations

from egpo.runtime.fork_client import RUN_FOLDER as RUN_FOLDER

ACTOR, ROLLOUT, MODEL = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.model"
ADDRESS = "RAY_ADDRESS"
# Sizes that egpo.training.fit chooses. They change no result but by rounding: a training may resume with others.
SIZES = (
    f"{ACTOR}.ppo_max_token_len_per_gpu",
    f"{MODEL}.enable_gradient_checkpointing",
    f"{ROLLOUT}.checkpoint_engine.update_weights_bucket_megabytes",
)
