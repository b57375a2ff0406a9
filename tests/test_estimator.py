"""Between verl and the mathematics: the estimator's handover, and errors of the trainer."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from small_runs import METHODS, small

from egpo.common.errors import UserError
from egpo.config.methods import Calibration, Method
from egpo.methods.advantage import calibrate
from egpo.methods.metrics import step_metrics
from egpo.verl_plugin.estimator import compute_egpo_advantage, handover

EGPO = METHODS["egpo"].calibration
ROWS, LONGEST = 8, 6


def algorithm(calibration: Calibration, penalty: float = 0.0) -> DictConfig:
    """The part of verl's configuration that reaches an estimator."""
    return OmegaConf.create({"egpo": calibration.model_dump(), "egpo_penalty": penalty})


def batch(seed: int) -> dict[str, torch.Tensor]:
    """Two groups of four in random order, with random numbers outside the mask."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, LONGEST + 1, (ROWS,), generator=generator)
    mask = (torch.arange(LONGEST) < lengths[:, None]).float()
    token_rewards = torch.zeros(ROWS, LONGEST)
    token_rewards[torch.arange(ROWS), lengths - 1] = torch.randint(0, 2, (ROWS,), generator=generator) * 2.0 - 1
    tokens = torch.rand(ROWS, LONGEST, generator=generator)
    order = torch.randperm(ROWS, generator=generator)
    index = np.array([f"prompt-{row // 4}" for row in order], dtype=object)
    return {"rewards": token_rewards, "mask": mask, "tokens": torch.where(mask > 0, tokens, 1e9), "index": index}


@given(st.integers(0, 10**6), st.integers(0, 5), st.sampled_from(["grpo", "egpo", "c1", "c5", "edge_grpo"]))
def test_verls_padding_rows_change_nothing(seed, padding, method):
    """They are anywhere in the batch, with an empty mask and another prompt id."""
    made, calibration = batch(seed), METHODS[method].calibration
    expected = calibrate(made["rewards"].sum(1), made["tokens"], made["mask"], list(made["index"]), calibration)
    order = torch.randperm(ROWS + padding, generator=torch.Generator().manual_seed(seed))

    def padded(tensor: torch.Tensor) -> torch.Tensor:
        return torch.cat([tensor, torch.zeros(padding, LONGEST)])[order]

    index = np.array([*made["index"], *["pad0"] * padding], dtype=object)[order.numpy()]
    with handover(padded(made["tokens"])) as parcel:
        found, returns = compute_egpo_advantage(
            padded(made["rewards"]), padded(made["mask"]), algorithm(calibration), index
        )
    assert found is returns
    torch.testing.assert_close(found, padded(expected.advantages[:, None] * made["mask"]), rtol=1e-5, atol=1e-6)
    assert parcel.metrics == pytest.approx(step_metrics(expected), rel=1e-4, abs=1e-6)


def test_scope_reaches_the_weights():
    made = batch(1)
    last = torch.zeros_like(made["mask"])
    last[torch.arange(ROWS), made["mask"].sum(1).long() - 1] = 1
    with handover(made["tokens"], last.bool()) as parcel:
        compute_egpo_advantage(made["rewards"], made["mask"], algorithm(EGPO), made["index"])
    entropies = made["tokens"][last.bool()]
    correct = made["rewards"].sum(1) > 0
    assert parcel.metrics["egpo/entropy/correct/mean"] == pytest.approx(entropies[correct].mean().item())


def test_overlong_shaping_reaches_the_check_of_rewards():
    made = batch(1)
    shaped = made["rewards"] * 1.0
    row = int((shaped.sum(1) < 0).nonzero()[0])
    shaped[row, 0] -= 0.5
    arguments = (shaped, made["mask"])
    with handover(made["tokens"]):
        compute_egpo_advantage(*arguments, algorithm(METHODS["grpo"].calibration, 1.0), made["index"])
        with pytest.raises(ValueError, match=r"rewards must be \+1 or -1"):
            compute_egpo_advantage(*arguments, algorithm(METHODS["grpo"].calibration), made["index"])


def test_errors_of_the_estimator():
    made = batch(1)
    with pytest.raises(ValueError, match="trainer_mode=egpo"):
        compute_egpo_advantage(made["rewards"], made["mask"], algorithm(EGPO), made["index"])
    with handover(made["tokens"][:, 1:]), pytest.raises(ValueError, match="do not match the mask"):
        compute_egpo_advantage(made["rewards"], made["mask"], algorithm(EGPO), made["index"])


def bare_trainer(config: DictConfig):
    """Our trainer without verl's set-up, for methods that only read its configuration."""
    from egpo.verl_plugin.trainer import EgpoTrainer

    trainer = object.__new__(EgpoTrainer)
    trainer.config, trainer.settings, trainer.generated, trainer.global_steps = config, config.egpo_run, 0, 3
    return trainer


def test_dynamic_sampling_that_finds_no_mixed_groups_ends(inputs, tmp_path):
    method = METHODS["dapo"].model_copy(update={"max_num_gen_batches": 5})
    trainer = bare_trainer(small(inputs, tmp_path, method, train_batch_size=4))
    with pytest.raises(
        UserError, match=r"step 3 generated 20 groups and found fewer than 4 mixed.*max_num_gen_batches"
    ):
        trainer._submit_batch_to_rollout([None] * 21)


def scoped(scope: str) -> Method:
    return METHODS["egpo"].model_copy(update={"calibration": EGPO.model_copy(update={"scope": scope})})


def test_scope_needs_the_end_of_the_thought_as_one_token(inputs, tmp_path):
    trainer = bare_trainer(small(inputs, tmp_path, scoped("answer")))
    trainer._init_tokenizer()
    assert trainer.tokenizer.convert_ids_to_tokens(trainer.end_of_thought) == "</think>"
    shutil.copytree(inputs, tmp_path / "other")
    file = tmp_path / "other/model/tokenizer.json"
    file.write_text(file.read_text().replace("</think>", "</thought>"))
    trainer = bare_trainer(small(tmp_path / "other", tmp_path, scoped("thinking")))
    with pytest.raises(UserError, match=r"scope: 'thinking' needs a tokenizer that has </think> as one token"):
        trainer._init_tokenizer()
    bare_trainer(small(tmp_path / "other", tmp_path, "egpo"))._init_tokenizer()


def test_overlong_shaping_reaches_verls_reward_manager(inputs, tmp_path):
    """verl's manager on a response of 10 tokens of at most 12, of which the last 8 are punished."""
    from verl import DataProto
    from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls

    from egpo.verl_plugin.reward import compute_score

    method = Method.model_validate({"label": "x", "overlong_buffer": {"len": 8, "penalty_factor": 1.0}})
    config = small(inputs, tmp_path, method)
    trainer = bare_trainer(config)
    trainer._init_tokenizer()
    assert config.reward.reward_manager.name == "dapo"
    response = torch.ones(1, 10, dtype=torch.long)
    data = DataProto.from_dict(
        {"responses": response, "attention_mask": response},
        {
            "data_source": np.array(["any"], dtype=object),
            "reward_model": np.array([{"ground_truth": "1"}], dtype=object),
            "extra_info": np.array([{}], dtype=object),
        },
    )
    manager = get_reward_manager_cls("dapo")(config, trainer.tokenizer, compute_score)
    result = manager.loop.run_until_complete(manager.run_single(data))
    assert float(result["reward_score"]) == pytest.approx(-1 - 6 / 8)
    assert result["reward_extra_info"]["acc"] == 0


def test_the_overlong_buffer_must_be_shorter_than_a_response(inputs, tmp_path):
    method = Method.model_validate({"label": "x", "overlong_buffer": {"len": 12}})
    with pytest.raises(UserError, match=r"overlong_buffer.len: 12 tokens, which is not less than the 12"):
        small(inputs, tmp_path, method)
