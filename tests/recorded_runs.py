"""The record of a made-up training, as the trainer writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import yaml

from egpo.config.methods import Method
from egpo.methods.advantage import calibrate
from egpo.methods.entropy import scope_mask
from egpo.training import responses
from egpo.verl_plugin import record

END, STOP, LIMIT, LONGEST = 4, 2, 12, 12
GROUPS, EACH, STEPS = 6, 8, 5
SEED = 3


class Words:
    """A tokenizer's mock."""

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return " ".join(map(str, ids))


def tokens_of(rng: np.random.Generator, rows: int) -> dict[str, torch.Tensor]:
    lengths = rng.integers(1, LONGEST + 1, rows)
    mask = torch.from_numpy((np.arange(LONGEST) < lengths[:, None]).astype(np.int64))
    ids = torch.from_numpy(rng.integers(5, 90, (rows, LONGEST)))
    ids[torch.arange(rows), torch.from_numpy(lengths - 1)] = STOP
    ids[: rows // 2, 0] = END  # half of the responses have thought
    return {
        "old_log_probs": torch.from_numpy(-rng.gamma(2.0, 0.2, (rows, LONGEST)).astype(np.float32)),
        "entropy": torch.from_numpy(rng.gamma(2.0, 0.2, (rows, LONGEST)).astype(np.float32)),
        "responses": ids,
        "response_mask": mask,
    }


def write_run(folder: Path, method: Method, think: bool = True, steps: int = STEPS, seed: int = SEED) -> Path:
    """The record of a made-up training with a method, as the trainer writes it."""
    rng, calibration = np.random.default_rng(1), method.calibration
    for number in range(1, steps + 1):
        rows = GROUPS * EACH
        tokens = tokens_of(rng, rows)
        rates = np.repeat(rng.choice([0.0, 0.2, 0.5, 1.0], GROUPS), EACH)
        rewards = torch.from_numpy(np.where(rng.random(rows) < rates, 1.0, -1.0).astype(np.float32))
        keys = [f"step{number:07d}-{row // EACH:05d}_{row % EACH}_0" for row in range(rows)]
        mask = tokens["response_mask"]
        whole = calibration.scope == "response"
        step = calibrate(
            rewards,
            -tokens["old_log_probs"] if calibration.entropy == "sampled" else tokens["entropy"],
            mask,
            [key.split("_")[0] for key in keys],
            calibration,
            None if whole else scope_mask(tokens["responses"], mask, calibration.scope, END),
            seed=seed,
        )
        problems = [f"problem-{row // EACH}" for row in range(rows)]
        end = END if think else None
        table = record.table_of(number, keys, problems, rewards, tokens, step, end, LIMIT, {STOP})
        texts = record.samples_of(table, tokens["responses"], Words(), 2)
        responses.write_step(folder / "work", number, table, texts)
    responses.join(folder / "work", folder)
    algorithm = {"egpo": calibration.model_dump(mode="json"), "egpo_seed": seed}
    settings = {"algorithm": algorithm, "reward": {}, "data": {"train_files": "train.parquet"}}
    (folder / "verl.yaml").write_text(yaml.safe_dump(settings))
    return folder / responses.RESPONSES
