"""What verl hands to our hooks, in a real training: an upgrade of verl that breaks one is named here."""

from __future__ import annotations

import inspect
import json
from importlib.metadata import version
from pathlib import Path

import pytest
from recording_trainer import HOOKS, NAME
from test_training import METHODS, inputs, small  # noqa: F401 (inputs is a fixture)

from egpo.training.launch import train

ROLLOUTS, PROMPTS = 4, 4


@pytest.fixture(scope="module")
def recording(inputs, tmp_path_factory):  # noqa: F811
    """What tests/recording_trainer.py wrote in one real step of a training, and the metrics of that step."""
    out = tmp_path_factory.mktemp("contract")
    calibration = METHODS["egpo"].calibration.model_copy(update={"entropy": "distribution", "scope": "answer"})
    config = small(inputs, out, METHODS["egpo"].model_copy(update={"calibration": calibration}), steps=1)
    config.trainer.v1.trainer_mode = NAME
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERL_USE_EXTERNAL_MODULES", "recording_trainer")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        patch.setenv("RECORDING", str(out / "recording.jsonl"))
        train(config, out, out / "work", 400, 300, lambda _: None)
    events = [json.loads(line) for line in (out / "recording.jsonl").read_text().splitlines()]
    metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return events, metrics[-1]


def event(recording, name: str) -> dict:
    (found,) = (one for one in recording[0] if one["event"] == name)
    return found


def test_this_is_the_verl_that_was_read():
    assert version("verl") == "0.9.1", "read what changed in verl/trainer/ppo/v1 before moving the pin"


def test_hooks_are_called_in_this_order(recording):
    assert [one["event"] for one in recording[0]] == [
        "_init_tokenizer",
        "on_init_end",
        "on_validate_begin",
        "_on_logged",  # the validation's metrics
        "on_train_begin",
        "on_step_begin",
        "_submit_batch_to_rollout",
        "on_sample_end",
        "_compute_advantage",
        "estimator",
        "_update_actor",
        "_save_checkpoint",
        "on_step_end",
        "on_validate_begin",
        "_on_logged",  # after the checkpoint, which it marks as complete
    ]
    assert set(HOOKS) <= {one["event"] for one in recording[0]}


def test_the_estimator_gets_these_arguments_and_no_others(recording):
    arguments = event(recording, "estimator")["arguments"]
    assert set(arguments) == {"token_level_rewards", "response_mask", "config", "index"}
    assert arguments["token_level_rewards"]["shape"] == arguments["response_mask"]["shape"]
    assert arguments["token_level_rewards"]["dtype"] == "torch.float32"


def test_the_queue_holds_log_probs_and_entropies_of_each_response(recording):
    fields = event(recording, "_compute_advantage")["fields"]
    lengths = fields["responses"]["rows"]
    for name in ("old_log_probs", "entropy", "response_mask", "rm_scores"):
        assert name in fields, f"verl's queue has no field '{name}' any more"
        assert fields[name]["rows"] == lengths, f"'{name}' is not aligned with the responses"
    assert fields["old_log_probs"]["dtype"] == fields["entropy"]["dtype"] == "torch.float32"


def test_padding_rows_are_known_by_their_prompt_id(recording):
    """One response was taken away, so verl adds one row to fill its batch."""
    index = event(recording, "estimator")["index"]
    tags = event(recording, "_compute_advantage")["tags"]
    assert len(index) == PROMPTS * ROLLOUTS
    padding = [tag.get("is_padding", False) for tag in tags]
    assert [uid.startswith("pad") for uid in index] == padding and sum(padding) == 1


def test_keys_begin_with_the_prompt_id(recording):
    keys = event(recording, "_compute_advantage")["keys"]
    assert [key.split("_")[0] for key in keys] == event(recording, "estimator")["index"]


def test_padding_is_left_out_of_the_metrics(recording):
    shares = [recording[1][f"egpo/groups/{kind}"] for kind in ("mixed", "entirely_correct", "entirely_incorrect")]
    assert sum(shares) == pytest.approx(1)
    assert all(share * PROMPTS == pytest.approx(round(share * PROMPTS)) for share in shares), "of 4 groups, not of 5"
    assert (recording[1]["egpo/groups/generated"], recording[1]["egpo/groups/replaced"]) == (PROMPTS, 0)


def test_verls_sync_trainer_reads_this_literal():
    """Our trainer sets trainer_mode to "sync" before verl's __init__, which compares it."""
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    assert 'self.trainer_mode == "sync"' in inspect.getsource(PPOTrainer._build_replay_buffer)


def test_the_replay_buffer_has_a_polling_interval():
    from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

    assert "poll_interval" in inspect.signature(ReplayBuffer.__init__).parameters


def test_dynamic_sampling_asks_for_groups_one_by_one_through_this_method():
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    assert "_submit_batch_to_rollout" in inspect.getsource(PPOTrainer._add_prompts_to_generate)
    assert "filter_groups/evicted_samples" in inspect.getsource(inspect.getmodule(PPOTrainer).ReplayBuffer)
