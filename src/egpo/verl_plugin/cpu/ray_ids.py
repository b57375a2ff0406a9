"""Workers that are forked from one process draw different ids; imported before anything that uses `ray.remote`.

Ray's library seeds its generator of ids at the first draw, and forks of a process that has drawn share its state. Two
workers that start at the same moment then put an object with the same id into Ray's store: one of them ends with
"Seal() called on an object without a reference to it", and the driver waits for it forever. Importing verl draws an id
for each class of an actor, and nothing else. Here these ids come from the operating system, so that the generator is
seeded in each fork.
"""

from __future__ import annotations

import os
from typing import Any

import ray.actor
from ray import ActorClassID


class _FromTheSystem:
    """Replaces ActorClassID in ray.actor, which only calls this method."""

    @staticmethod
    def from_random() -> ActorClassID:
        return ActorClassID(os.urandom(ActorClassID.size()))


actor: Any = ray.actor
actor.ActorClassID = _FromTheSystem
