"""The record of a training's responses, and other methods replayed on it."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from recorded_runs import EACH, GROUPS, LIMIT, SEED, STEPS, STOP, tokens_of, write_run
from test_controls import METHODS

from egpo.analysis import replay
from egpo.cli.main import main
from egpo.common.json_lines import read_objects
from egpo.config.methods import Method
from egpo.methods import custom_weights
from egpo.methods.advantage import calibrate
from egpo.report.figures import replay as figure
from egpo.report.tables import replay as table
from egpo.training import responses
from egpo.verl_plugin import record

EGPO = METHODS["egpo"]


# --- the record ------------------------------------------------------------------------------------


def test_every_response_has_a_row(tmp_path):
    table = pq.read_table(write_run(tmp_path, EGPO))
    assert table.schema.equals(responses.SCHEMA)
    rows = table.to_pandas()
    assert len(rows) == STEPS * GROUPS * EACH
    assert not rows.duplicated(["step", "group", "rollout"]).any()
    assert rows["problem"].nunique() == GROUPS
    assert np.array_equal(rows["advantage"], (rows["weight"] * rows["base"]).astype(np.float32))
    assert np.array_equal(rows["entropy"], rows["entropy_used"])
    assert (rows["correct"] == (rows["reward"] > 0)).all()
    assert not rows["truncated"].any(), "all end with the token that ends a response"
    rates = rows.groupby(["step", "group"], observed=True)["correct"].transform("mean")
    kinds = np.select([rates == 1, rates == 0], ["entirely_correct", "entirely_incorrect"], "mixed")
    assert (rows["kind"].astype(str) == kinds).all()
    thought = rows["entropy_answer"].notna()
    assert 0 < thought.mean() < 1 and rows["entropy_thinking"].notna().all()


def test_a_response_that_was_cut_is_truncated():
    rng = np.random.default_rng(2)
    tokens = tokens_of(rng, 4)
    tokens["response_mask"][:] = 1
    tokens["responses"][:, -1] = torch.tensor([STOP, 50, 51, STOP])
    rewards = torch.tensor([1.0, -1, 1, -1])
    step = calibrate(
        rewards, -tokens["old_log_probs"], tokens["response_mask"], list("aabb"), METHODS["egpo"].calibration
    )
    table = record.table_of(1, [f"{g}_0_0" for g in "aabb"], list("xxyy"), rewards, tokens, step, None, LIMIT, {STOP})
    assert table["truncated"].to_pylist() == [False, True, True, False]
    assert table["entropy_thinking"].null_count == 4


def test_texts_of_a_few_groups_are_kept(tmp_path):
    write_run(tmp_path, EGPO)
    samples = [one for _, one in read_objects(tmp_path / responses.SAMPLES)]
    assert len(samples) == STEPS * 2 * EACH
    assert [one["rollout"] for one in samples[:EACH]] == list(range(EACH))
    assert len(samples[0]["text"].split()) == samples[0]["length"]


def test_steps_after_the_checkpoint_are_forgotten_and_come_again_the_same(tmp_path):
    undisturbed = write_run(tmp_path / "one", EGPO).read_bytes()
    write_run(tmp_path / "two", EGPO)
    work = tmp_path / "two" / "work"
    (work / responses.FOLDER / ".0000009.parquet.part").write_bytes(b"half")  # as a kill leaves it
    responses.forget_after(work, 2)
    assert [file.stem for file in responses.step_files(work)] == ["0000001", "0000002"]
    assert len(list((work / responses.FOLDER).glob("*.jsonl"))) == 2
    assert write_run(tmp_path / "two", EGPO).read_bytes() == undisturbed


@pytest.mark.slow
def test_the_papers_size_is_below_50_mb(tmp_path):
    rng, rows = np.random.default_rng(1), 1024
    for step in range(1, 771):
        floats = {
            field.name: rng.gamma(2.0, 0.2, rows).astype(np.float32)
            for field in responses.SCHEMA
            if pa.types.is_floating(field.type)
        }
        groups = np.repeat(rng.integers(0, 10_000, 64), 16)
        values: dict[str, Any] = {
            "step": np.full(rows, step),
            "problem": [f"{group:032x}" for group in groups],
            "group": [f"step{step:07d}-{row // 16:05d}" for row in range(rows)],
            "rollout": np.tile(np.arange(16), 64),
            "correct": rng.random(rows) < 0.5,
            "length": rng.integers(50, 3072, rows),
            "truncated": rng.random(rows) < 0.1,
            "kind": np.repeat(rng.choice(record.KINDS, 64), 16),
            **floats,
            "reward": rng.choice([-1.0, 1.0], rows),
        }
        arrays = [record._array(values[field.name], field.type) for field in responses.SCHEMA]
        responses.write_step(tmp_path, step, pa.Table.from_arrays(arrays, schema=responses.SCHEMA), [])
    responses.join(tmp_path, tmp_path)
    file = tmp_path / responses.RESPONSES
    assert file.stat().st_size < 50e6
    start = time.monotonic()
    found = replay.replay([file], METHODS["grpo"], 1, {"egpo": METHODS["egpo"]})
    print(f"{file.stat().st_size / 1e6:.0f} MB, one method {time.monotonic() - start:.0f} s")
    assert found.responses == 770 * 1024


# --- replay ----------------------------------------------------------------------------------------

REPLAYED = sorted(METHODS.keys() - {"shuffled_answers"})


@pytest.mark.parametrize("name", REPLAYED)
def test_the_runs_own_method_comes_again_to_the_bit(tmp_path, name):
    found = replay.replay([write_run(tmp_path, METHODS[name])], METHODS[name], SEED, {name: METHODS[name]})
    assert (found.differences, found.responses) == (0, STEPS * GROUPS * EACH)
    means = replay.summary(found.table).loc[name]
    assert means["flipped"] == 0 and means["correlation"] == pytest.approx(1)


def test_a_changed_code_is_noticed(tmp_path, monkeypatch):
    file = write_run(tmp_path, EGPO)
    monkeypatch.setattr("egpo.methods.advantage.EPSILON", 1e-3)
    assert replay.replay([file], METHODS["egpo"], SEED, {}).differences > 0


def test_another_method_gives_what_its_own_training_would_record(tmp_path):
    """The made-up responses are the same, whatever the method: so a replay of C5 is the record of C5."""
    (step, *_) = replay.recorded([write_run(tmp_path / "egpo", EGPO)])
    (other, *_) = replay.recorded([write_run(tmp_path / "c5", METHODS["c5"])])
    found = replay.applied(step, METHODS["c5"], METHODS["egpo"], SEED)
    assert torch.equal(found.advantages, other.advantages) and torch.equal(found.weights.values, other.weights)


def test_measures_by_hand():
    """Two groups of two: one mixed, one entirely incorrect."""
    rewards, lengths = torch.tensor([1.0, -1, -1, -1]), torch.tensor([10, 20, 30, 40])
    own = torch.tensor([1.0, 1.0, -1.0, -2.0])
    step = replay.Recorded(1, rewards, lengths, list("aabb"), {}, torch.ones(4), own)
    result = calibrate(rewards, torch.ones(4, 1), torch.ones(4, 1), list("aabb"), METHODS["egpo"].calibration)
    found = replay.measures(step, result)
    mass = result.advantages.abs() * lengths
    assert found["share_entirely_incorrect"] == pytest.approx(((mass[2] + mass[3]) / mass.sum()).item())
    assert found["share_correct"] + found["share_incorrect"] + found["share_entirely_incorrect"] == pytest.approx(1)
    assert found["flipped"] == 0.25 and found["silent"] == 0
    assert found["weight_entirely_incorrect"] == pytest.approx(1, abs=1e-4)


def test_what_is_not_recorded_is_left_out_with_its_reason(tmp_path):
    scoped = Method.model_validate({"label": "answers", "calibration": {"weight": "entropy", "scope": "answer"}})
    odd = Method.model_validate(
        {"label": "odd", "calibration": {"weight": "entropy", "scope": "answer", "entropy": "distribution"}}
    )
    methods = {"scoped": scoped, "odd": odd, "shuffled_answers": METHODS["shuffled_answers"], "egpo": METHODS["egpo"]}
    found = replay.replay([write_run(tmp_path, EGPO, think=False)], METHODS["egpo"], SEED, methods)
    assert set(found.table["method"]) == {"egpo"}
    assert "no response of step 1 has such a part" in found.left_out["scoped"]
    assert "in no record" in found.left_out["odd"] and "not recorded" in found.left_out["shuffled_answers"]


# --- the command -----------------------------------------------------------------------------------


def test_the_command_writes_table_figure_and_numbers(tmp_path, capsys):
    write_run(tmp_path, EGPO)
    function = own_file(tmp_path)
    assert main(["replay", str(tmp_path), "--method", "c5", "--method", f"{function}:sure"]) == 0
    said = capsys.readouterr().out
    assert "to the bit" in said and "It does not say what a training with it would do" in " ".join(said.split())
    table = pd.read_csv(tmp_path / "replay" / "replay.csv")
    assert set(table["method"]) == {"run", "c5", f"{function}:sure"} and set(table["step"]) == set(range(1, STEPS + 1))
    assert {file.name for file in (tmp_path / "replay").iterdir()} == {
        *("replay.md", "replay.csv", "replay.png", "replay.pdf")
    }


def test_a_training_under_way_is_replayed_as_far_as_it_is(tmp_path, capsys):
    write_run(tmp_path, EGPO, steps=2).unlink()
    assert main(["replay", str(tmp_path), "--method", "grpo", "--out", str(tmp_path / "here")]) == 0
    assert "96 responses in 2 steps" in capsys.readouterr().out


def own_file(folder: Path, body: str = "return torch.exp(-entropies)", name: str = "my_weights.py") -> Path:
    """A file with the function `sure`."""
    (folder / name).write_text(f"import torch\n\n\ndef sure(entropies, correct, groups):\n    {body}\n")
    return folder / name


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("c7", "--method c7: is neither"),
        ("a:b/mine.py:sure", "a:b/mine.py:sure: is neither a function (file.py:name, with no ':' in the file's path)"),
        ("nowhere.py:sure", "nowhere.py:sure cannot be loaded (FileNotFoundError"),
        ("{}:nan", ":nan returned nan for a response of entropy"),
        ("{}:unsure", ":unsure cannot be loaded (AttributeError"),
        ("{}:sure", "returned (2,): a tensor of one number for each of the 48 responses is wanted"),
        ("shuffled_answers", "--method shuffled_answers cannot be replayed: shuffled_answers: the verdicts"),
    ],
)
def test_a_method_that_was_named_and_cannot_be_replayed_is_a_failure(tmp_path, capsys, method, words):
    write_run(tmp_path, EGPO)
    file = own_file(tmp_path, "return entropies[:2]\n\n\ndef nan(entropies, *_):\n    return 0 / (0 * entropies)")
    named = method.format(file)
    assert main(["replay", str(tmp_path), "--method", "c5", "--method", named]) == 1
    said = capsys.readouterr()
    assert words in said.err and "--method " in said.err and "--method c5" not in said.err
    replayed = "is neither" not in words
    assert ((tmp_path / "replay" / "replay.md").exists() and f"| {METHODS['c5'].label} |" in said.out) == replayed


def test_what_was_not_named_may_be_left_out(tmp_path, capsys):
    write_run(tmp_path, EGPO)
    assert main(["replay", str(tmp_path)]) == 0
    assert "is left out: shuffled_answers: the verdicts" in capsys.readouterr().out


def test_a_run_whose_own_function_is_gone_says_so_and_replays_the_others(tmp_path, capsys):
    file = own_file(tmp_path)
    calibration = {"weight": f"{file}:sure", "nsr": True}
    write_run(tmp_path, Method.model_validate({"label": "mine", "calibration": calibration}))
    assert main(["replay", str(tmp_path), "--method", "c5"]) == 0
    file.unlink()
    custom_weights._function.cache_clear()
    for named in ("c5", "shuffled_answers"):
        assert main(["replay", str(tmp_path), "--method", named]) == 1
        said = capsys.readouterr()
        assert "the run's own method cannot be replayed: calibration.weight" in said.err and "FileNotFound" in said.err
        assert "The run's own method cannot be replayed" in said.out


def test_functions_of_the_same_name_have_rows_and_bars_of_their_own(tmp_path, monkeypatch):
    write_run(tmp_path, EGPO)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    files = [own_file(tmp_path / "one"), own_file(tmp_path / "two", "entropies.zero_()\n    return 1 + entropies")]
    drawn = []
    monkeypatch.setattr(figure, "save", lambda made, *_: drawn.append(made))
    assert main(["replay", str(tmp_path), *(part for file in files for part in ("--method", f"{file}:sure"))]) == 0
    bars, _, _ = drawn[0].axes
    assert len({bar.get_y() for bar in bars.patches}) == 3 and len(bars.patches) == 3 * len(figure.PARTS)
    assert [tick.get_text() for tick in bars.get_yticklabels()] == ["my_weights.py:sure"] * 2 + ["the run's own"]
    rows = [line for line in (tmp_path / "replay" / "replay.md").read_text().splitlines() if "my_weights" in line]
    assert len(rows) == 4 and all(row.startswith("| my_weights.py:sure | ") for row in rows)
    own = pd.read_csv(tmp_path / "replay" / "replay.csv").query("method == 'run' and measure == 'correlation'")
    assert own["value"].to_numpy() == pytest.approx(1)


def test_the_course_is_that_of_the_first_and_last_quarter_of_the_steps(tmp_path):
    file = write_run(tmp_path, EGPO, steps=9)
    found = replay.replay([file], METHODS["egpo"], SEED, {"egpo": METHODS["egpo"], "c5": METHODS["c5"]})
    by_step = found.table.query("method == 'c5' and measure == 'correlation'").set_index("step")["value"]
    first, last = by_step.loc[[1, 2]].mean(), by_step.loc[[8, 9]].mean()
    lines = table.page("title", found, METHODS)
    (row,) = (line for line in lines if line.startswith(f"| {METHODS['c5'].label} |") and "→" in line)
    assert f"| {first:.3f}\u00a0→\u00a0{last:.3f} |" in row
    own = [line for line in lines if line.startswith(f"| {METHODS['egpo'].label} |")]
    assert len(own) == 2 and own[1].count("→") == len(replay.COURSES)


def test_a_step_of_the_run_without_any_entropy_is_replayed_as_it_was(tmp_path):
    """The scope's part occurred in no response of a step: all weights of the run were 1."""
    method = Method.model_validate({"label": "x", "calibration": {"weight": "entropy", "scope": "answer"}})
    (step, *_) = replay.recorded([write_run(tmp_path, method)])
    without = torch.full_like(step.weights, torch.nan)
    found = replay.applied(dataclasses.replace(step, entropies={"entropy_used": without}), method, method, SEED)
    assert torch.equal(found.weights.values, torch.ones_like(without))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"algorithm": {}}, "verl.yaml: algorithm.egpo: this key is missing"),
        ({"algorithm": [1]}, "verl.yaml: algorithm.egpo: this key is missing"),
        ({"algorithm": {"egpo": {"lam": 1}}}, "verl.yaml: algorithm.egpo: lam: there is no such key"),
        ({"data": {}}, "verl.yaml: data.train_files: this key is missing"),
        ({"reward": 3}, "verl.yaml: reward.reward_kwargs.overlong_buffer_cfg: (top level): 3 is not allowed"),
        ({"reward": {"reward_kwargs": [3]}}, "overlong_buffer_cfg: (top level): [3] is not allowed"),
        (
            {"reward": {"reward_kwargs": {"overlong_buffer_cfg": {"enable": True}}}},
            "verl.yaml: reward.reward_kwargs.overlong_buffer_cfg: len: this key is missing",
        ),
    ],
)
def test_settings_of_another_training_are_named_with_their_key(tmp_path, capsys, change, words):
    write_run(tmp_path, EGPO)
    settings = tmp_path / "verl.yaml"
    settings.write_text(yaml.safe_dump({**yaml.safe_load(settings.read_text()), **change}))
    assert main(["replay", str(tmp_path)]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("define: [c7]", "more.yaml: define: ['c7'] is not allowed: write keys with values."),
        ("define: {methods: [c7]}", "more.yaml: define.methods: ['c7'] is not allowed: write keys with values."),
    ],
)
def test_a_list_in_place_of_definitions_is_named(tmp_path, capsys, text, words):
    write_run(tmp_path, EGPO)
    (tmp_path / "more.yaml").write_text(text)
    assert main(["replay", str(tmp_path), "--configfile", str(tmp_path / "more.yaml")]) == 1
    assert words in capsys.readouterr().err


def _without(name: str, table: pa.Table) -> pa.Table:
    """The table with no value in the first row of a column."""
    place, column = table.schema.get_field_index(name), table[name].to_pylist()
    return table.set_column(place, name, pa.array([None, *column[1:]], table[name].type))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.drop_columns(["weight"]), "weight"),
        (lambda table: table.slice(0, 0), "no rows"),
        (lambda table: _without("step", table), "step: rows without a value"),
        (lambda table: pa.table({"question": ["1+1?"]}), "step"),
        (None, "Parquet"),
    ],
)
def test_a_record_that_is_not_whole_is_named(tmp_path, capsys, change, words):
    """A row without a step would be left out in silence."""
    write_run(tmp_path, EGPO)
    file = tmp_path / responses.RESPONSES
    if change is None:
        file.write_bytes(file.read_bytes()[:200])
    else:
        pq.write_table(change(pq.read_table(file)), file)
    assert main(["replay", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"{file}: is not the whole record") and words in err and "name another training" in err


def test_a_folder_without_a_record_is_named(tmp_path, capsys):
    assert main(["replay", str(tmp_path)]) == 1
    assert "holds no responses.parquet" in capsys.readouterr().err
