"""What the trainings of a seed have in common, as their comparison needs it: the columns ORIGIN of their rows."""

from __future__ import annotations

import platform
from pathlib import Path

from egpo.common.files import sha256
from egpo.common.hashing import stable_hash
from egpo.common.paths import Paths
from egpo.common.provenance import read_again, stage_code
from egpo.config.experiment import Catalogue
from egpo.study.blocks import Origin


def origin(catalogue: Catalogue, backbone: str, questions: Path) -> Origin:
    """Hashes of weights, data and code as the files are now, and the processor: its roundings are its own.

    Args:
        questions: the file of those that the trained models are asked.
    """
    paths = Paths(catalogue.experiment.experiment)
    weights = sha256(paths.backbone(backbone) / "model" / "model.safetensors")[:16]
    data = [*(paths.output("data_pool", part) for part in ("train", "validation")), questions]
    read_again()
    code = stage_code(
        "train_model",
        "study/measure.py",
        "inference/engine_process.py",
        platform=catalogue.experiment.training.platform,
    )
    return weights, stable_hash([sha256(file) for file in data]), code, processor()


def processor() -> str:
    """The processor's name, and the instructions that torch chooses on it."""
    import torch  # here, as a study imports it together with verl (egpo.study.run)

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, platform.machine())}, {torch.backends.cpu.get_cpu_capability()}"
