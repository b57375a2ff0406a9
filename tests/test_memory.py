"""The memory estimate, and verl's settings as written before a training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from small_runs import CATALOGUES
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    LlamaConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
)

from egpo.backbones.architecture import as_config, check_fetched, of_backbone, of_folder
from egpo.common.errors import UserError
from egpo.common.paths import Paths
from egpo.config.backbones import Architecture, HubModel
from egpo.training.fit import MOST, fit, longest
from egpo.training.memory import Memory, estimate
from egpo.training.settings import as_text, verl_config
from egpo.training.settings_files import write_settings

PAPER = CATALOGUES["paper"]
TRAINING = PAPER.experiment.training
PARAMETERS = {  # as the model cards round them: 1.54, 7.61, 1.78, 7.61 billion
    "qwen2.5-math-1.5b": 1_543_714_304,
    "qwen2.5-math-7b": 7_615_616_512,
    "deepseek-r1-1.5b": 1_777_088_000,
    "deepseek-r1-7b": 7_615_616_512,
}


def as_transformers(size: Architecture) -> Qwen2Config:
    return Qwen2Config(**as_config(size))


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_the_model(name):
    size = of_backbone(PAPER.backbones[name])
    with torch.device("meta"):
        model = Qwen2ForCausalLM(as_transformers(size))
    assert size.parameters == PARAMETERS[name] == sum(weights.numel() for weights in model.parameters())
    largest = max(sum(weights.numel() for weights in layer.parameters()) for layer in model.model.layers)
    assert size.layer_parameters == largest


def test_sizes_are_read_from_the_model(tmp_path):
    size = Architecture(
        num_hidden_layers=2,
        hidden_size=64,
        intermediate_size=96,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=300,
        tie_word_embeddings=True,
    )
    as_transformers(size).save_pretrained(tmp_path)
    assert of_folder(tmp_path) == size
    source = HubModel(kind="hub", repo="a/b", architecture=size.model_copy(update={"num_hidden_layers": 3}))
    with pytest.raises(UserError, match=r"architecture.num_hidden_layers: 3 given, but a/b has 2"):
        check_fetched(source, tmp_path)
    (tmp_path / "config.json").write_text('{"hidden_size": 64}')
    with pytest.raises(UserError, match="has no num_hidden_layers, intermediate_size"):
        of_folder(tmp_path)


TINY: dict[str, Any] = {"vocab_size": 320, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2}
LLAMA = LlamaConfig(**TINY, num_attention_heads=6, num_key_value_heads=2, tie_word_embeddings=False)
QWEN3 = Qwen3Config(**TINY, num_attention_heads=3, num_key_value_heads=1, head_dim=32, tie_word_embeddings=True)
GEMMA = Gemma2Config(**TINY, num_attention_heads=4, num_key_value_heads=2, head_dim=16)


@pytest.mark.parametrize("config", [LLAMA, QWEN3, GEMMA], ids=lambda config: config.model_type)
def test_sizes_of_other_architectures_are_those_of_their_weights(config, tmp_path):
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path)
    size = of_folder(tmp_path)
    assert size.parameters == sum(weights.numel() for weights in model.parameters())
    assert size.largest == max(weights.numel() for weights in model.parameters()) == 320 * 48
    assert size.tie_word_embeddings is (config.model_type != "llama")
    layer = model.model.layers[0].self_attn
    assert (size.query_width, size.kv_width) == (layer.q_proj.out_features, layer.k_proj.out_features)
    by_formula = size.model_copy(update={"num_parameters": None})
    assert by_formula.parameters == pytest.approx(size.parameters, rel=0.01)


SMALL = Architecture(  # SmolLM2-135M
    num_hidden_layers=30,
    hidden_size=576,
    intermediate_size=1536,
    num_attention_heads=9,
    num_key_value_heads=3,
    vocab_size=49152,
    tie_word_embeddings=True,
)
SHORT = PAPER.backbones["qwen2.5-math-1.5b"].model_copy(update={"max_prompt_length": 160, "max_response_length": 96})
ON_CPU = CATALOGUES["demo"].experiment.training


def test_a_micro_batch_follows_from_the_memory():
    found = {gib: fit(SMALL, SHORT, ON_CPU, gib) for gib in (8, 10, 12, 16, 24, 64)}
    tokens = [sizes.micro_tokens for gib, sizes in found.items() if not sizes.recompute]
    assert tokens == sorted(tokens) and len({found[gib].micro_tokens for gib in (12, 16, 24)}) == 3
    assert all(sizes.memory.peak <= gib and not sizes.warnings for gib, sizes in found.items())
    assert found[64].micro_tokens == MOST


def test_layers_are_computed_again_only_where_no_sequence_fits_otherwise():
    long = SHORT.model_copy(update={"max_response_length": 2000})
    assert not fit(SMALL, long, ON_CPU, 24).recompute
    assert fit(SMALL, long, ON_CPU, 10).recompute


@given(st.integers(1, 200), st.sampled_from([SMALL, of_backbone(PAPER.backbones["qwen2.5-math-1.5b"])]))
def test_a_fit_that_warns_is_the_smallest(gib, size):
    sizes = fit(size, SHORT, ON_CPU, gib)
    assert 256 <= sizes.micro_tokens <= MOST
    if sizes.warnings:
        assert (sizes.micro_tokens, sizes.recompute) == (256, True)


def test_the_largest_matrix_fits_the_bucket_and_two_responses_the_cache():
    for name in PARAMETERS:
        size = of_backbone(PAPER.backbones[name])
        sizes = fit(size, PAPER.backbones[name], TRAINING, 0)
        assert sizes.bucket_mib * 2**20 >= 4 * size.vocab_size * size.hidden_size
    assert fit(SMALL, SHORT, ON_CPU, 16).bucket_mib == 108
    long = SHORT.model_copy(update={"max_response_length": 100_000})
    assert fit(SMALL, long, ON_CPU, 16).cache_bytes >= 2 * 100_160 * 2 * 4 * 30 * 192


def test_a_model_that_is_too_large_is_refused_with_what_would_fit():
    (line,) = fit(of_backbone(PAPER.backbones["qwen2.5-math-1.5b"]), SHORT, ON_CPU, 16).warnings
    assert "jobs.train.memory_gib gives it 16. Raise that to" in line and "million parameters" in line


def memory(name: str, response_tokens: int | None = None, **changes) -> Memory:
    backbone = PAPER.backbones[name]
    if response_tokens is not None:
        backbone = backbone.model_copy(update={"max_response_length": response_tokens})
    training = TRAINING.model_copy(update=changes)
    return estimate(of_backbone(backbone), backbone, training, max(MOST, longest(backbone)))


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_training_of_the_paper_fits_eight_gpus_of_80_gb(name):
    assert memory(name).warnings() == []


def test_warnings_name_the_key_to_change():
    (update, vllm) = memory("deepseek-r1-7b", gpus_per_node=1).warnings()
    assert "training.gpus_per_node" in update and "training.gpu_memory_utilization" in vllm
    (cache,) = memory("deepseek-r1-7b", gpu_memory_utilization=0.24).warnings()
    assert "fewer than one response of 20480" in cache


def test_state_by_hand():
    """16 bytes a parameter over 8 GPUs."""
    assert memory("qwen2.5-math-7b").state == pytest.approx(16 * 7_615_616_512 / 8 / 2**30)


@given(st.sampled_from(list(PARAMETERS)), st.integers(1, 16), st.integers(1000, 60000), st.integers(1, 10000))
def test_more_gpus_need_less_and_longer_responses_more(name, gpus, tokens, more):
    here = memory(name, tokens, gpus_per_node=gpus)
    assert memory(name, tokens, gpus_per_node=gpus + 1).peak < here.peak
    assert memory(name, tokens + more, gpus_per_node=gpus).update >= here.update


@pytest.mark.parametrize("most", [5, pytest.param(None, marks=pytest.mark.slow)])
def test_settings_of_every_training_are_checked_and_written(tmp_path, most):
    """most: of the paper's trainings; verl's check takes a second each."""
    experiment = PAPER.experiment
    pairs = [(backbone, method) for method in experiment.methods for backbone in experiment.backbones]
    pairs += [(experiment.ablations.backbone, method) for method in experiment.ablations.methods]
    assert len(pairs) == 22
    pairs = pairs[:most]
    models = {(*pair, 1): tmp_path / "no-model" for pair in pairs}
    reports: list[str] = []
    write_settings(PAPER, models, (tmp_path / "train", tmp_path / "validation"), tmp_path, reports.append)
    assert reports == [f"{len(pairs)} trainings: verl accepts the settings, now in {tmp_path}"]
    for backbone, method in pairs:
        config = OmegaConf.load(tmp_path / backbone / method / "seed-1.yaml")
        assert config.algorithm.egpo == PAPER.methods[method].calibration.model_dump()
        assert (config.data.train_batch_size, config.actor_rollout_ref.rollout.n) == (64, 16)
        assert (config.trainer.total_epochs, config.trainer.n_gpus_per_node) == (5, 8)
        assert config.data.max_response_length == PAPER.backbones[backbone].max_response_length
        assert config.actor_rollout_ref.rollout.gpu_memory_utilization == 0.6
        assert config.actor_rollout_ref.actor.fsdp_config.entropy_from_logits_with_chunking is True
    text = (tmp_path / "memory.md").read_text()
    assert "not a measurement" in text and "Everything fits" in text
    assert all(PAPER.backbones[name].label in text for name in experiment.backbones)


def test_written_settings_are_those_of_the_training(tmp_path):
    demo, folder = CATALOGUES["demo"], tmp_path / "model"
    files = (tmp_path / "train", tmp_path / "validation")
    write_settings(demo, {("tiny-math", "egpo", 1): folder}, files, tmp_path, lambda _: None)
    backbone, method = demo.backbones["tiny-math"], demo.methods["egpo"]
    work = Paths("demo").training("tiny-math", "egpo", 1) / "work"
    config = verl_config(demo.experiment.training, method, backbone, folder, *files, 1, work)
    assert (tmp_path / "tiny-math/egpo/seed-1.yaml").read_text() == as_text(config)
    assert "- tiny-math (synthetic): micro batches of 16384 tokens" in (tmp_path / "memory.md").read_text()
