"""6. The effect of precision, padding and packing on the weights w_i, and the cost of each kind of attention."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from egpo.backbones.architecture import as_config
from egpo.config.backbones import Architecture
from egpo.data.verl_rows import prompt
from egpo.methods.advantage import calibrate
from egpo.synthetic.problems import draw_problem
from egpo.verl_plugin import attention
from egpo.verl_plugin.log_probs import logprobs_from_logits
from kit import varlen
from kit.catalogue import method
from kit.step import Step, main

GROUPS, ROLLOUTS = 8, 8
LONGEST = 64  # tokens of a response of the tiny model
Pair = tuple[list[int], list[int]]  # ids of a prompt and of its response
REPEATS = 3


def run(step: Step) -> None:
    from kit.models import random_model, tiny_model

    attention.install()
    with step.attempt("weights of the tiny model"):
        weights(step, "tiny", tiny_model(step), sampled)
    large = random_model(step.sizes.large, step.folder("large"), step.device, 32_768)
    with step.attempt("weights of the large model"):
        weights(step, "large, random weights", large, uniform)
    torch.cuda.empty_cache()  # does nothing on a CPU
    for way in step.sizes.attention_ways:
        costs(step, way)


# --- the weights -----------------------------------------------------------------------------------


def sampled(model: Any, tokenizer: Any, device: str) -> list[Pair]:
    """GROUPS x ROLLOUTS responses of the model to synthetic sums, at temperature 1."""
    rng, found = Random(1), []
    torch.manual_seed(1)
    for _ in range(GROUPS):
        text = tokenizer.apply_chat_template(
            prompt(draw_problem(rng, "train").text), add_generation_prompt=True, tokenize=False
        )
        asked = tokenizer.encode(text)
        output = model.generate(
            torch.tensor([asked] * ROLLOUTS, device=device), do_sample=True, top_k=0, max_new_tokens=LONGEST,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        for row in output[:, len(asked) :].tolist():
            end = row.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in row else len(row)
            found.append((asked, row[:end]))
    return found


def padded(rows: list[list[int]], pad: int, device: str) -> dict[str, torch.Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
    return {"input_ids": ids, "attention_mask": mask}


def packed(rows: list[list[int]], device: str) -> dict[str, torch.Tensor]:
    ids = torch.tensor([[token for row in rows for token in row]], device=device)
    positions = torch.cat([torch.arange(len(row), device=device) for row in rows])[None]
    return {"input_ids": ids, "position_ids": positions, "attention_mask": None}  # type: ignore[dict-item]


def entropies(
    model: Any,
    pairs: list[Pair],
    way: str,
    together: bool,
    take: Callable,
    pad: int,
    device: str,
) -> list[torch.Tensor]:
    """-log pi of each response token, a tensor for each response.

    Args:
        way: transformers' attn_implementation.
        together: in one packed row.
        take: the function of log-probabilities, verl's or ours.
        pad: id of the padding token.
    """
    model.set_attn_implementation(way)
    rows = [asked + answer for asked, answer in pairs]
    inputs = packed(rows, device) if together else padded(rows, pad, device)
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits
        labels = torch.roll(inputs["input_ids"], -1, dims=1)
        found = take(logits.flatten(0, 1), labels.flatten()).view(labels.shape).float().cpu()
    parts = found[0].split([len(row) for row in rows]) if together else list(found)
    return [
        -part[len(asked) - 1 : len(asked) + len(answer) - 1] for part, (asked, answer) in zip(parts, pairs, strict=True)
    ]


def egpo_weights(tokens: list[torch.Tensor], clamp: bool) -> torch.Tensor:
    """w_i of EGPO, or without `clamp` the ratios of Eq. (7); every second response counts as correct."""
    calibration = method("egpo").calibration
    if not clamp:
        calibration = calibration.model_copy(update={"correct": "raw", "incorrect": "raw"})
    padded_tokens = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in tokens], batch_first=True)
    rewards = torch.tensor([1.0, -1.0] * (len(tokens) // 2))
    groups = [number // ROLLOUTS for number in range(len(tokens))]
    return calibrate(rewards, padded_tokens, mask, groups, calibration).weights.values


def uniform(model: Any, tokenizer: Any, device: str) -> list[Pair]:
    """Prompts and responses of random tokens, close to samples of random weights, but quicker."""
    rng, vocabulary = Random(1), model.config.vocab_size
    lengths = [rng.randint(100, 400) for _ in range(GROUPS * ROLLOUTS)]
    return [([rng.randrange(vocabulary) for _ in range(50)], rng.choices(range(vocabulary), k=n)) for n in lengths]


def weights(step: Step, name: str, place: Path, draw: Callable[[Any, Any, str], list[Pair]]) -> None:
    from verl.utils.torch_functional import logprobs_from_logits_v2

    tokenizer = AutoTokenizer.from_pretrained(place)
    model = AutoModelForCausalLM.from_pretrained(place, dtype="float32").to(step.device).eval()
    pairs = draw(model, tokenizer, step.device)
    step.record(f"{name}: response length", sum(len(answer) for _, answer in pairs) / len(pairs), "tokens", "mean")

    def take(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return logprobs_from_logits(logits, labels, inplace_backward=False)

    def token_entropies(way: str, together: bool, function: Callable) -> list[torch.Tensor]:
        few = [pairs[start : start + ROLLOUTS] for start in range(0, len(pairs), ROLLOUTS)]
        pad = tokenizer.pad_token_id
        return [row for part in few for row in entropies(model, part, way, together, function, pad, step.device)]

    exact = token_entropies("sdpa", False, take)
    reference, ratios = egpo_weights(exact, True), egpo_weights(exact, False)
    spread = f"raw ratios {ratios.min():.3f} to {ratios.max():.3f}"
    step.record(f"{name}: w_i, float32, padded", float(reference.std()), "standard deviation", spread)
    compare(step, f"{name}: float32, packed", token_entropies("packed", True, take), exact)
    model = model.bfloat16()
    compare(step, f"{name}: bf16, padded", token_entropies("sdpa", False, take), exact)
    compare(step, f"{name}: bf16, packed", token_entropies("packed", True, take), exact)
    compare(step, f"{name}: bf16, packed with a mask", token_entropies("sdpa", True, take), exact)
    rounded = token_entropies("packed", True, logprobs_from_logits_v2)
    compare(step, f"{name}: bf16, packed, verl's log-probabilities without flash-attention", rounded, exact)


def compare(step: Step, what: str, found: list[torch.Tensor], exact: list[torch.Tensor]) -> None:
    tokens = torch.cat(found) - torch.cat(exact)
    clamped = (egpo_weights(found, True) - egpo_weights(exact, True)).abs()
    raw = (egpo_weights(found, False) / egpo_weights(exact, False) - 1).abs()
    note = f"largest {clamped.max():.1e}; raw ratio {raw.mean():.1e}, largest {raw.max():.1e}; "
    step.record(
        f"{what}: change of w_i", float(clamped.mean()), "mean", note + f"a token {tokens.abs().mean():.1e} nats"
    )


# --- the cost --------------------------------------------------------------------------------------


def costs(step: Step, way: str) -> None:
    """Time one kind of attention on every micro-batch, in a new process.

    After an error inside a checkpointed layer the next backward pass would fail too, and memory would not be freed.
    """
    if not attention.available(way):
        step.record(way, "not installed")
        return
    process = get_context("spawn").Process(target=_costs, args=(step, way))
    process.start()
    process.join()
    if process.exitcode:
        step.failed = True


def _costs(step: Step, way: str) -> None:
    attention.install()
    varlen.install()
    for lengths in step.sizes.micro_batches:
        with step.attempt(f"{way}, {len(lengths)} x {lengths[0]} tokens"):
            cost(step, way, lengths)
        if step.failed:
            sys.exit(1)


def cost(step: Step, way: str, lengths: tuple[int, ...]) -> None:
    """Time forward and backward of some layers, with recomputation as in a training, on one packed micro-batch."""
    cuda, layers = step.platform == "cuda", step.sizes.attention_layers
    model = first_layers(step.sizes.large, layers, way, step.device)
    inputs = packed([[1] * length for length in lengths], step.device)
    seconds = []
    for _ in range(1 + REPEATS):
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        model(**inputs, use_cache=False).last_hidden_state.float().sum().backward()
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        model.zero_grad()
    note = f"first time {seconds[0]:.2f} s"
    if cuda:
        note += f"; peak {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB"
    step.record(f"{way}, {len(lengths)} x {lengths[0]} tokens", 1000 * min(seconds[1:]), f"ms, {layers} layers", note)


def first_layers(shape: Architecture, layers: int, way: str, device: str) -> Any:
    """The decoder's first layers, without the output embedding, in bf16."""
    from transformers import Qwen2Config, Qwen2Model

    sizes = as_config(shape) | {"vocab_size": 1024, "num_hidden_layers": layers}
    config = Qwen2Config(**sizes, max_position_embeddings=32_768, attn_implementation=way)
    with torch.device(device):
        model = Qwen2Model(config).bfloat16()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.train()


if __name__ == "__main__":
    main("attention", run)
