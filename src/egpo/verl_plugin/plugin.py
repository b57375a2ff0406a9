"""What verl loads in each of its processes (entry-point group verl.plugins in pyproject.toml).

On GPUs it adds a trainer, an estimator and an agent loop, an attention that packs sequences without
flash-attention, and log-probabilities in float32; on a CPU also what verl lacks there. It must be cheap,
as ten processes pay for it: each part is loaded when the part of verl or transformers that looks for it
is imported, and nothing here imports vLLM or the FSDP engine. verl swallows errors of a plug-in, so
`egpo.verl_plugin.driver` checks the registrations at start-up.
"""

from __future__ import annotations

import importlib
import os

from egpo.runtime.processes import keep_sigterm_blocked
from egpo.verl_plugin.after_import import after_import

keep_sigterm_blocked()
after_import("verl.trainer.ppo.v1", lambda: importlib.import_module("egpo.verl_plugin.trainer"))
after_import("transformers.modeling_utils", lambda: importlib.import_module("egpo.verl_plugin.attention").install())
after_import("verl.utils.torch_functional", lambda: importlib.import_module("egpo.verl_plugin.log_probs").install())

if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
    importlib.import_module("egpo.verl_plugin.cpu.platform").install()
