"""Models and data of the kit, made on the machine: random weights, synthetic sums."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pandas as pd
import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from egpo.backbones.architecture import as_config
from egpo.config.backbones import Architecture
from egpo.data.verl_rows import verl_row
from egpo.synthetic.problems import draw_problem
from egpo.synthetic.tokenizer import make_tokenizer
from egpo.synthetic.warm_up import Teacher, make_model
from kit.catalogue import tiny_backbone
from kit.step import Step


def tiny_model(step: Step) -> Path:
    """The tiny model after a short supervised warm-up, so that some answers are right; made once, on the CPU."""
    place = step.work / "tiny"
    if (place / "config.json").exists():
        return place
    backbone = tiny_backbone()
    tokenizer = make_tokenizer(False, backbone.source.seed, backbone.max_model_len)
    model = make_model(backbone.source, tokenizer, backbone.max_model_len)
    teacher = Teacher(model, tokenizer, backbone.source, False)
    teacher.teach(step.sizes.warm_up)
    tokenizer.save_pretrained(place)
    teacher.average.save_pretrained(place)
    return place


def problems_file(path: Path, count: int, level: int | None = None) -> Path:
    """Write `count` synthetic sums in verl's format; returns the path."""
    rng = Random(path.name)
    problems = [draw_problem(rng, "train", level=level) for _ in range(count)]
    rows = [verl_row(problem.text, problem.answer, index=index) for index, problem in enumerate(problems)]
    pd.DataFrame(rows).to_parquet(path)
    return path


def large_vocabulary(size: int, context: int) -> PreTrainedTokenizerFast:
    """The tiny tokenizer with unused entries up to `size`, so that every id has a text."""
    tokenizer = make_tokenizer(False, 1, context)
    values = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = values["model"]["vocab"]
    vocabulary |= {f"unused{number}": number for number in range(len(tokenizer), size)}
    return PreTrainedTokenizerFast(
        tokenizer_object=type(tokenizer.backend_tokenizer).from_str(json.dumps(values)),
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
        model_max_length=context,
        chat_template=tokenizer.chat_template,
        clean_up_tokenization_spaces=False,
    )


def random_model(shape: Architecture, place: Path, device: str, context: int, dtype: str = "bfloat16") -> Path:
    """Write a Qwen2 model of this shape with random weights, and a tokenizer of its vocabulary, to `place`."""
    torch.manual_seed(0)
    config = Qwen2Config(**as_config(shape), max_position_embeddings=context, dtype=dtype)
    tokenizer = large_vocabulary(shape.vocab_size, context)
    config.eos_token_id, config.pad_token_id, config.bos_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id, None
    with torch.device(device):
        model = Qwen2ForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place
