"""Sizes of the kit's models and batches on a GPU, and on a CPU, where only the code is tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from egpo.config.backbones import Architecture
from egpo.config.training import Attention
from kit.catalogue import large_backbone


@dataclass(frozen=True)
class Sizes:
    """Sizes for the steps; lengths in tokens."""

    product: int  # width of the square matrices
    logprob_model: Architecture  # for vLLM against transformers
    warm_up: int  # supervised steps of the tiny model
    prompts: int  # in a step of a tiny training
    rollouts: int
    steps: int
    questions: int  # of the evaluation
    concurrencies: tuple[int, ...]
    large: Architecture  # of the step paper_size
    large_prompts: int  # in a step of its training
    large_rollouts: int
    large_prompt_tokens: int  # the longest
    large_response: int
    micro_batches: tuple[tuple[int, ...], ...]  # lengths of their sequences, for the step attention
    attention_layers: int  # of the large model, for the step attention
    attention_ways: tuple[str, ...]  # values of training.attention, and kit.varlen's


def _architecture(layers: int, hidden: int, heads: int, kv_heads: int, vocabulary: int) -> Architecture:
    return Architecture(
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocabulary,
        tie_word_embeddings=True,
    )


def sizes(platform: str) -> Sizes:
    """Sizes on a platform, cuda or cpu."""
    large = large_backbone()
    if platform == "cuda":
        return Sizes(
            product=8192,
            logprob_model=_architecture(8, 1024, 16, 4, 32_000),
            warm_up=300,
            prompts=16,
            rollouts=8,
            steps=10,
            questions=1024,
            concurrencies=(64, 256, 512),
            large=large.source.architecture,
            large_prompts=8,
            large_rollouts=8,
            large_prompt_tokens=large.max_prompt_length,
            large_response=large.max_response_length,
            micro_batches=((4096,), (1024,) * 4, (20_480,), (2560,) * 8),
            attention_layers=4,
            attention_ways=("varlen", *get_args(Attention)),
        )
    return Sizes(
        product=512,
        logprob_model=_architecture(2, 128, 2, 1, 1024),
        warm_up=300,
        prompts=8,
        rollouts=8,
        steps=10,
        questions=48,
        concurrencies=(64, 256),
        large=_architecture(2, 128, 2, 1, 2048),
        large_prompts=2,
        large_rollouts=4,
        large_prompt_tokens=256,
        large_response=96,
        micro_batches=((256,), (64,) * 4),
        attention_layers=1,
        attention_ways=("packed", "sdpa", "flash_attention_2"),  # flex_attention has no backward on a CPU
    )
