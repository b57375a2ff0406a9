"""The replacements of flash-attention: attention over packed sequences, and log-probabilities in float32."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2Config, Qwen2ForCausalLM

from egpo.backbones.architecture import check_attention
from egpo.common.errors import UserError
from egpo.verl_plugin import attention
from egpo.verl_plugin.log_probs import ROWS, logprobs_from_logits

attention.install()


def tiny(name: str, kv_heads: int = 2) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=kv_heads, attn_implementation=name,
    )  # fmt: skip
    return Qwen2ForCausalLM(config)


def packed(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token and position ids, both (1, tokens)."""
    ids = torch.randint(97, (1, sum(lengths)), generator=torch.Generator().manual_seed(1))
    return ids, torch.cat([torch.arange(length) for length in lengths])[None]


def outputs(model: Qwen2ForCausalLM, ids: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and the gradient of a parameter in the first layer."""
    logits = model(input_ids=ids, position_ids=positions, attention_mask=None, use_cache=False).logits
    logits.logsumexp(-1).sum().backward()
    return logits.detach(), model.model.layers[0].self_attn.k_proj.weight.grad


@settings(max_examples=20)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), kv_heads=st.sampled_from([1, 2, 4]))
def test_packed_attention_equals_transformers_attention_with_a_mask(lengths, kv_heads):
    ours, theirs = (outputs(tiny(name, kv_heads), *packed(lengths)) for name in (attention.NAME, "sdpa"))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@given(lengths=st.lists(st.integers(1, 9), min_size=2, max_size=5))
@settings(max_examples=20)
def test_no_sequence_attends_to_another(lengths):
    model, (ids, positions) = tiny(attention.NAME), packed(lengths)
    whole = outputs(model, ids, positions)[0].split(lengths, dim=1)
    for part, own, position in zip(whole, ids.split(lengths, dim=1), positions.split(lengths, dim=1), strict=True):
        torch.testing.assert_close(part, outputs(model, own, position)[0], atol=1e-5, rtol=1e-4)


def test_rows_padded_on_the_right_need_no_mask():
    lengths = [5, 3]
    model, (ids, positions) = tiny(attention.NAME), packed(lengths)
    rows = torch.zeros(2, 5, dtype=torch.long)
    mask = torch.zeros(2, 5, dtype=torch.long)
    for row, own in enumerate(ids.split(lengths, dim=1)):
        rows[row, : own.shape[1]], mask[row, : own.shape[1]] = own, 1
    logits = model(input_ids=rows, attention_mask=mask, use_cache=False).logits
    torch.testing.assert_close(logits[mask.bool()], outputs(model, ids, positions)[0][0], atol=1e-5, rtol=1e-4)


def test_unsupported_inputs_are_errors():
    model, (ids, positions) = tiny(attention.NAME), packed([4, 3])
    with pytest.raises(ValueError, match="padded on the left"):
        model(input_ids=ids, attention_mask=torch.tensor([[0, 1, 1, 1, 1, 1, 1]]))
    with pytest.raises(ValueError, match="position of a row is not 0"):
        model(input_ids=ids, position_ids=positions + 1, attention_mask=None, use_cache=False)
    model.model.layers[0].self_attn.sliding_window = 2
    with pytest.raises(ValueError, match="plain causal attention"):
        model(input_ids=ids, position_ids=positions, attention_mask=None, use_cache=False)


@pytest.mark.parametrize(
    ("config", "asks"),
    [
        ({"sliding_window": 4096}, "sliding windows"),  # Mistral
        ({"sliding_window": 4096, "use_sliding_window": True}, "sliding windows"),  # Qwen2 of before layer_types
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding windows"),
        ({"attn_logit_softcapping": 50.0}, "soft-capped scores"),  # Gemma 2
        ({"model_type": "gpt_oss"}, "attention sinks"),
        ({"sliding_window": 4096, "use_sliding_window": False}, None),  # Qwen2.5
        ({"sliding_window": None, "layer_types": ["full_attention"]}, None),
        ({"sliding_window": 4096, "layer_types": ["full_attention"]}, None),
    ],
)
def test_a_model_with_another_attention_is_refused_before_the_training(config, asks, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    check_attention(tmp_path, "sdpa")
    if asks is None:
        check_attention(tmp_path, "packed")
    else:
        with pytest.raises(UserError, match=f"training.attention: packed .* asks for {asks}"):
            check_attention(tmp_path, "packed")


@given(
    rows=st.sampled_from([1, 7, ROWS, ROWS + 1]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    inplace=st.booleans(),
)
@settings(max_examples=20)
def test_log_probs_and_their_gradient_are_those_of_log_softmax(rows, dtype, inplace):
    torch.manual_seed(rows)
    logits = (5 * torch.randn(rows, 97)).to(dtype)
    labels, gradient = torch.randint(97, (rows,)), torch.randn(rows)
    ours, exact = (logits.clone().requires_grad_() for _ in range(2))
    scaled = ours * 1.0  # may be overwritten
    found = logprobs_from_logits(scaled, labels, inplace_backward=inplace)
    expected = exact.double().log_softmax(-1).gather(-1, labels[:, None])[:, 0]
    found.backward(gradient)
    expected.backward(gradient.double())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 1e-2}[dtype]
    torch.testing.assert_close(ours.grad, exact.grad, atol=tolerance, rtol=tolerance)
    assert torch.equal(scaled.detach(), logits) == (not inplace)


def test_verls_function_has_three_digits_in_bf16_and_ours_six():
    from verl.utils.torch_functional import logprobs_from_logits_v2

    torch.manual_seed(0)
    logits = (5 * torch.randn(200, 997)).bfloat16()
    labels = torch.randint(997, (200,))
    exact = logits.double().log_softmax(-1).gather(-1, labels[:, None])[:, 0]
    error = {
        f: (f(logits, labels).double() - exact).abs().max() for f in (logprobs_from_logits_v2, logprobs_from_logits)
    }
    assert error[logprobs_from_logits_v2] > 1e-2 and error[logprobs_from_logits] < 1e-5


def test_several_actions_wait_for_one_import():
    look = """
from egpo.verl_plugin.after_import import after_import
after_import("colorsys", lambda: print("first"))
after_import("colorsys", lambda: print("second"))
import colorsys
after_import("colorsys", lambda: print("third"))
"""
    run = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["first", "second", "third"]


def test_verl_still_packs_by_position_ids():
    from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

    source = inspect.getsource(FSDPEngineWithLMHead.prepare_model_inputs)
    assert "position_ids.values().unsqueeze(0)" in source and '"attention_mask": None' in source
