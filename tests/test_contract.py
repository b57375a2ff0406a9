"""What verl passes to our hooks, and the outcome, in a real training with verl and vLLM.

If an upgrade of verl breaks a hook, a test here names it. The training takes minutes (`make test-slow`).
tests/test_experiment.py runs another one each time, which would fail too, but without the reason.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from recording_trainer import HOOKS, NAME
from small_runs import small

from egpo.training import checkpoints
from egpo.training.launch import train
from egpo.training.limits import Limits
from egpo.verl_plugin.agent_loop import group_name, rollout_seed

ROLLOUTS, PROMPTS = 4, 4
STEP = [
    "on_step_begin",
    "_submit_batch_to_rollout",
    "on_sample_end",
    "_compute_advantage",
    "estimator",
    "_update_actor",
    "_save_checkpoint",
    "on_step_end",
]


@dataclass(frozen=True)
class Recording:
    """Events of tests/recording_trainer.py in a training of two steps, its lines of metrics and its reports."""

    folder: Path
    events: list[dict]
    metrics: list[dict]
    reports: list[str]

    def first(self, name: str) -> dict:
        return next(event for event in self.events if event["event"] == name)


@pytest.fixture(scope="module")
def recording(inputs, tmp_path_factory) -> Recording:
    out = tmp_path_factory.mktemp("contract")
    config = small(inputs, out, "egpo")
    config.trainer.v1.trainer_mode = NAME
    reports: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERL_USE_EXTERNAL_MODULES", "recording_trainer")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        patch.setenv("RECORDING", str(out / "recording.jsonl"))
        train(config, out, out / "work", Limits(400, 60, 300), reports.append)
    read = [[json.loads(line) for line in (out / name).read_text().splitlines()] for name in LINES]
    return Recording(out, *read, reports)


LINES = ("recording.jsonl", "metrics.jsonl")


@pytest.mark.slow
def test_egpo_trains_through_verl_and_vllm(recording, inputs):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    first, *steps = recording.metrics
    assert [line["step"] for line in recording.metrics] == [0, 1, 2]
    assert "val-core/egpo/boxed-math/acc/mean@1" in first
    for line in steps:
        assert -1 <= line["critic/score/mean"] <= 1
        # A random model is nearly uniform: its entropy is the logarithm of its vocabulary.
        assert line["egpo/entropy/incorrect/mean"] == pytest.approx(line["actor/entropy"], abs=0.1)
        # The actor's log-probabilities are those of the weights that vLLM sampled from.
        assert line["rollout_corr/log_ppl_abs_diff"] < 1e-3
        assert line["actor/grad_norm"] > 0
    assert any(report.startswith("step 2/2, reward ") for report in recording.reports)
    folder = recording.folder
    assert checkpoints.complete_steps(folder / "work" / "checkpoints") == [2]  # the one before was removed
    model, start = (AutoModelForCausalLM.from_pretrained(place / "model") for place in (folder, inputs))
    changes = [(a - b).abs().max().item() for a, b in zip(model.parameters(), start.parameters(), strict=True)]
    assert max(changes) > 1e-4
    assert AutoTokenizer.from_pretrained(folder / "model").chat_template
    assert OmegaConf.load(folder / "verl.yaml").algorithm.adv_estimator == "egpo"


def test_the_version_of_verl_is_the_one_that_the_hooks_were_written_for():
    assert version("verl") == "0.9.1", "run `make test-slow` and read what changed in verl/trainer/ppo/v1"


@pytest.mark.slow
def test_hooks_are_called_in_this_order(recording):
    start = ["_init_tokenizer", "on_init_end", "on_validate_begin", "_on_logged", "on_train_begin"]
    # A step's metrics are logged after its checkpoint, which is then marked as complete.
    end = ["on_validate_begin", "_on_logged"]
    assert [one["event"] for one in recording.events] == [*start, *STEP, "_on_logged", *STEP, *end]
    assert set(HOOKS) <= {one["event"] for one in recording.events}


@pytest.mark.slow
def test_the_estimator_gets_these_arguments_and_no_others(recording):
    arguments = recording.first("estimator")["arguments"]
    assert set(arguments) == {"token_level_rewards", "response_mask", "config", "index"}
    assert arguments["token_level_rewards"]["shape"] == arguments["response_mask"]["shape"]
    assert arguments["token_level_rewards"]["dtype"] == "torch.float32"


@pytest.mark.slow
def test_the_queue_holds_log_probs_and_entropies_of_each_response(recording):
    fields = recording.first("_compute_advantage")["fields"]
    lengths = fields["responses"]["rows"]
    for name in ("old_log_probs", "entropy", "response_mask", "rm_scores"):
        assert name in fields, f"verl's queue has no field '{name}'"
        assert fields[name]["rows"] == lengths, f"'{name}' is not aligned with the responses"
    assert fields["old_log_probs"]["dtype"] == fields["entropy"]["dtype"] == "torch.float32"


@pytest.mark.slow
def test_padding_rows_are_recognised_by_their_prompt_id(recording):
    """One response was removed, so verl adds one row."""
    index = recording.first("estimator")["index"]
    tags = recording.first("_compute_advantage")["tags"]
    assert len(index) == PROMPTS * ROLLOUTS
    padding = [tag.get("is_padding", False) for tag in tags]
    assert [uid.startswith("pad") for uid in index] == padding and sum(padding) == 1


@pytest.mark.slow
def test_groups_have_the_names_that_seeds_come_from(recording):
    index = recording.first("estimator")["index"]
    named = {uid for uid in index if not uid.startswith("pad")}
    assert named == {group_name(1, place) for place in range(PROMPTS)}
    seeds = {
        rollout_seed(seed, group_name(step, place), rollout)
        for seed in (1, 2)
        for step in (1, 11)
        for place in (0, 1, 11)
        for rollout in range(8)
    }
    assert len(seeds) == 96 and max(seeds) < 2**63  # vLLM's largest


@pytest.mark.slow
def test_keys_begin_with_the_prompt_id(recording):
    keys = recording.first("_compute_advantage")["keys"]
    assert [key.split("_")[0] for key in keys] == recording.first("estimator")["index"]


@pytest.mark.slow
def test_padding_is_left_out_of_the_metrics(recording):
    for line in recording.metrics[1:]:
        shares = [line[f"egpo/groups/{kind}"] for kind in ("mixed", "entirely_correct", "entirely_incorrect")]
        assert sum(shares) == pytest.approx(1)
        assert all(share * PROMPTS == pytest.approx(round(share * PROMPTS)) for share in shares), "of 4 groups, not 5"
        assert (line["egpo/groups/generated"], line["egpo/groups/replaced"]) == (PROMPTS, 0)


def test_verls_sync_trainer_reads_this_literal():
    """The trainer sets trainer_mode to "sync" before verl's __init__, which compares it."""
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    assert 'self.trainer_mode == "sync"' in inspect.getsource(PPOTrainer._build_replay_buffer)


def test_the_replay_buffer_has_a_polling_interval():
    from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

    assert "poll_interval" in inspect.signature(ReplayBuffer.__init__).parameters


def test_dynamic_sampling_asks_for_groups_one_by_one_through_this_method():
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    assert "_submit_batch_to_rollout" in inspect.getsource(PPOTrainer._add_prompts_to_generate)
    assert "filter_groups/evicted_samples" in inspect.getsource(inspect.getmodule(PPOTrainer).ReplayBuffer)
