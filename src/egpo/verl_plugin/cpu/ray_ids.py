"""Workers that are forked from one process draw different ids; imported before anything that uses `ray.remote`.

Ray's library seeds its generator of ids at the first draw, and forks share the state of a generator that is seeded. Two
workers that start at the same moment then put an object of the same id into Ray's store: one of them ends with "Seal()
called on an object without a reference to it", and the driver waits for it without an end. The only draw of a process
that imports verl is for the id of each class of an actor. Here that comes from the operating system, so that the first
draw, and with it the seed, is a fork's own.
"""

from __future__ import annotations

import os

import ray.actor
from ray import ActorClassID


class _FromTheSystem:
    """In the place of ray.ActorClassID in ray.actor, which calls nothing else of it."""

    @staticmethod
    def from_random() -> ActorClassID:
        return ActorClassID(os.urandom(ActorClassID.size()))


setattr(ray.actor, "ActorClassID", _FromTheSystem)  # noqa: B010, as a type checker refuses an assignment
