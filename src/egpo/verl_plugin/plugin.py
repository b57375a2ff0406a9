"""The plug-in that verl loads in each of its processes (entry-point group verl.plugins in pyproject.toml).

It adds a trainer, an estimator, an agent loop, attention over packed sequences without flash-attention, and
log-probabilities in float32; on a CPU also a platform. Ten processes load it, so it must be quick: each part is
imported with the module of verl or transformers that uses it, and nothing here imports vLLM or the FSDP engine. verl
ignores errors of a plug-in, so egpo.verl_plugin.driver checks the registrations.
"""

from __future__ import annotations

import importlib
import os

from egpo.runtime import stacks
from egpo.runtime.processes import keep_sigterm_blocked
from egpo.verl_plugin.after_import import after_import

keep_sigterm_blocked()
stacks.register()
after_import("verl.trainer.ppo.v1", lambda: importlib.import_module("egpo.verl_plugin.trainer"))
after_import("transformers.modeling_utils", lambda: importlib.import_module("egpo.verl_plugin.attention").install())
after_import("verl.utils.torch_functional", lambda: importlib.import_module("egpo.verl_plugin.log_probs").install())

if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
    importlib.import_module("egpo.verl_plugin.cpu.platform").install()
