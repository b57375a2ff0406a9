"""2. vLLM's log-probabilities of given tokens against transformers', on random weights."""

from __future__ import annotations

import gc
import os
from pathlib import Path

from kit.step import Step, main

ROWS, TOKENS = 16, 192
DTYPES = ("bfloat16", "float32")


def run(step: Step) -> None:
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from kit.models import random_model

    place = random_model(step.sizes.logprob_model, step.folder("model"), "cpu", 1024, "float32")
    import torch

    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(step.sizes.logprob_model.vocab_size, (ROWS, TOKENS), generator=generator).tolist()
    exact = by_transformers(place, rows, "cpu", "float32")
    step.record("mean log-probability", float(exact.mean()), "nats", "transformers, float32 on the CPU")
    for dtype in DTYPES:
        ours = None
        with step.attempt(f"transformers in {dtype}"):
            ours = by_transformers(place, rows, step.device, dtype)
            compare(step, f"transformers in {dtype} against float32 on the CPU", ours, exact)
        with step.attempt(f"vLLM in {dtype}"):
            theirs = by_vllm(step, place, rows, dtype)
            compare(step, f"vLLM in {dtype} against float32 on the CPU", theirs, exact)
            if ours is not None:
                compare(step, f"vLLM against transformers, both in {dtype}", theirs, ours)


def compare(step: Step, what: str, one: object, other: object) -> None:
    difference = (one - other).abs()  # type: ignore[operator]
    step.record(what, float(difference.mean()), "nats a token", f"largest {difference.max():.2e}")


def by_transformers(place: Path, rows: list[list[int]], device: str, dtype: str) -> object:
    """Log-probabilities of the second and later tokens, (rows, tokens - 1)."""
    import torch
    from transformers import AutoModelForCausalLM

    from egpo.verl_plugin.log_probs import logprobs_from_logits

    model = AutoModelForCausalLM.from_pretrained(place, dtype=dtype).to(device)
    ids = torch.tensor(rows, device=device)
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        return logprobs_from_logits(logits, ids[:, 1:], inplace_backward=False).cpu()


def by_vllm(step: Step, place: Path, rows: list[list[int]], dtype: str) -> object:
    import torch
    from vllm import LLM, SamplingParams

    more = {"gpu_memory_utilization": 0.3} if step.platform == "cuda" else {"kv_cache_memory_bytes": 2**28}
    llm = LLM(
        str(place), dtype=dtype, enforce_eager=True, max_model_len=512, enable_prefix_caching=False,
        logprobs_mode="raw_logprobs", **more,
    )  # fmt: skip
    asked = SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False)
    outputs = llm.generate([{"prompt_token_ids": row} for row in rows], asked, use_tqdm=False)
    found = [
        [places[token].logprob for token, places in zip(row[1:], output.prompt_logprobs[1:], strict=True)]
        for row, output in zip(rows, outputs, strict=True)
    ]
    del llm
    gc.collect()
    if step.platform == "cuda":
        torch.cuda.empty_cache()
    return torch.tensor(found)


if __name__ == "__main__":
    main("logprobs", run)
