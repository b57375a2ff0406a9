"""What verl loads in each of its processes (entry-point group verl.plugins in pyproject.toml).

It must be cheap, as ten processes pay for it: the estimator and the trainer are registered when the
part of verl that looks them up is imported, and nothing here imports vLLM or the FSDP engine. verl
swallows errors of a plug-in, so `egpo.training.child` checks the registrations at start-up.
"""

from __future__ import annotations

import importlib
import os

from egpo.processes import keep_sigterm_blocked
from egpo.training.lazily import after_import

keep_sigterm_blocked()
after_import("verl.trainer.ppo.v1", lambda: importlib.import_module("egpo.training.trainer"))

if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
    importlib.import_module("egpo.training.cpu_platform").install()
