"""Backbones from GGUF files, by transformers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from egpo.common.errors import UserError
from egpo.common.files import sha256, write_json


def convert(file: Path, folder: Path, manifest: Path, report: Callable[[str], None]) -> None:
    """Turn a GGUF file into a model folder in float32, with its tokenizer, and record the file's hash.

    Raises:
        UserError: transformers cannot read the file, or its tokenizer has no chat template.
    """
    if find_spec("gguf") is None:
        raise UserError("source.kind: gguf needs the package gguf: run `make env`.")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    except (ValueError, KeyError, OSError, NotImplementedError, ImportError) as error:
        raise UserError(
            f"{file}: transformers cannot read this GGUF file ({type(error).__name__}: {error}). Give the model as a "
            "folder in Hugging Face format: source: {kind: local, path: ...}."
        ) from error
    if not tokenizer.chat_template:
        raise UserError(f"{file}: its tokenizer has no chat template, so prompts cannot be formatted.")
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    report(f"{file.name}: {sum(weights.numel() for weights in model.parameters()) / 1e6:,.0f} million parameters")
    write_json(manifest, {"file": file.name, "sha256": sha256(file)})
