"""Rollouts by a real vLLM on a random tiny model: their log-probabilities, their shards, what goes wrong."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluation_runs import BACKBONE, make_model, settings

from egpo.common.errors import UserError
from egpo.config.evaluation import Uncertainty
from egpo.data.verl_rows import verl_row
from egpo.inference.engine import Answer, EngineError
from egpo.uncertainty.measures import measure_rollouts
from egpo.uncertainty.rollouts import _row, end_of_thought, roll_out

THINKS = BACKBONE.model_copy(update={"thinks": True})
ASKED = Uncertainty(rollouts_per_prompt=3, problems_per_shard=2)
TOLERANCE = 2e-4  # nats: vLLM's kernels against transformers', float32


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def problems(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("problems") / "heldout.parquet"
    pq.write_table(
        pa.Table.from_pylist([verl_row(f"What is {n} + 1?", str(n + 1), uuid=f"u{n}") for n in range(5)]), path
    )
    return path


@pytest.fixture(scope="module")
def made(model, problems, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("rollouts")
    run(model, problems, out)
    return out


def run(model: Path, problems: Path, out: Path, max_num_seqs: int = 16, code: str = "code") -> list[str]:
    reported: list[str] = []
    chosen = settings(max_num_seqs)
    roll_out(model, THINKS, problems, chosen, ASKED, out / "work", out, code, reported.append)
    return reported


def test_every_problem_has_every_rollout(made):
    table = pd.read_parquet(made / "rollouts.parquet")
    assert table.groupby("problem").size().tolist() == [3] * 5
    assert not table.duplicated(["problem", "trial"]).any()
    assert (table["tokens"].map(len) == table["logprobs"].map(len)).all()
    assert table["response"].nunique() == 15
    measured = measure_rollouts(made / "rollouts.parquet")
    assert measured["response"].between(0.5, 20).all()
    assert (measured["response_tokens"] == table["tokens"].map(len)).all()


def test_log_probabilities_are_those_of_a_plain_forward_pass(made, model, problems):
    """At temperature 1 and over all tokens, though they were drawn at 0.6 from the best 20."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    rows = pq.read_table(problems).to_pylist()
    largest = 0.0
    for one in pd.read_parquet(made / "rollouts.parquet").itertuples():
        chat = [dict(message) for message in rows[one.problem]["prompt"]]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        asked = tokenizer.encode(text, add_special_tokens=False)
        assert len(asked) == one.prompt_tokens
        ids = torch.tensor([[*asked, *one.tokens]])
        with torch.no_grad():
            logs = network(ids).logits.log_softmax(-1)[0, len(asked) - 1 : -1]
        expected = logs[torch.arange(len(one.tokens)), torch.tensor(one.tokens.astype(np.int64))].numpy()
        largest = max(largest, float(np.abs(expected - one.logprobs).max()))
    assert largest < TOLERANCE


@pytest.mark.slow
def test_finished_shards_stay_and_the_same_comes_again(made, model, problems):
    before = (made / "rollouts.parquet").read_bytes()
    (made / "work" / "shard-0001.parquet").unlink()
    reported = run(model, problems, made, max_num_seqs=2)
    assert "2 of 3 shards are finished already" in reported
    assert (made / "rollouts.parquet").read_bytes() == before


def test_a_shard_of_other_code_is_made_again(made, model, problems, tmp_path, monkeypatch):
    """No shard of another version is taken for finished. Without vLLM, which is loaded where a shard is to be made."""
    from egpo.uncertainty import rollouts

    (tmp_path / "work").mkdir()
    for shard in (made / "work").iterdir():
        (tmp_path / "work" / shard.name).write_bytes(shard.read_bytes())
    pending: list[int] = []

    def count(shards: list, *_: object) -> None:
        pending.append(len(shards))

    monkeypatch.setattr(rollouts, "_loaded", lambda *_: nullcontext())
    monkeypatch.setattr(rollouts, "_run", count)
    run(model, problems, tmp_path)
    run(model, problems, tmp_path, code="other code")
    assert pending == [3]


def test_a_problem_without_an_answer_stops_the_run():
    row = {"uuid": "u7", "trial": 1}
    with pytest.raises(UserError, match=r"data\.final_prompt_tokens: problem u7 is too long .* leaves 0"):
        _row(row, "2", Answer(error="leaves 0", overflow=True))
    with pytest.raises(EngineError, match="problem u7, trial 1: out of memory"):
        _row(row, "2", Answer(error="out of memory"))


def test_thoughts_need_their_token(model, monkeypatch):
    from transformers import AutoTokenizer

    vocabulary = AutoTokenizer.from_pretrained(model).get_vocab()
    assert end_of_thought(model, THINKS) == vocabulary["</think>"]
    assert end_of_thought(model, BACKBONE) is None
    monkeypatch.setattr("egpo.uncertainty.rollouts.END_OF_THOUGHT", "</thought>")
    with pytest.raises(UserError, match=r"tiny: thinks: true, but the tokenizer .* no token </thought>"):
        end_of_thought(model, THINKS)
