"""Trackers: names, environment, refusals; that none can end a training; a real run that is killed and resumed."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import DictConfig
from small_runs import small, start
from waiting import LIMIT, until

from egpo.cli.check import load_checked
from egpo.common.errors import UserError
from egpo.common.provenance import modules
from egpo.common.stages import STAGES
from egpo.config.experiment import Tracker
from egpo.runtime.guard import descendants
from egpo.training import process, trackers
from egpo.training.prepare import prepare
from egpo.training.progress import REWARD, read_lines
from egpo.training.trackers import OPTIONAL, Tracked
from egpo.verl_plugin import tracking
from egpo.verl_plugin.tracking import Background

ALL: tuple[Tracker, ...] = ("tensorboard", "trackio", "wandb", "mlflow", "swanlab")
RUN = "tiny-math/egpo/seed-1"


def tracked(config: DictConfig, folder: Path, *names: Tracker) -> DictConfig:
    Tracked(names, "demo", RUN, folder / "trackers").add_to(config)
    return config


# --- names and environment ---------------------------------------------------------------------------


def test_every_training_has_a_run_of_its_own_and_keeps_it(inputs, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_", "TRACKIO_", "SWANLAB_"))]:
        monkeypatch.delenv(name)
    config = tracked(small(inputs, tmp_path, "egpo"), tmp_path, *ALL)
    assert (config.trainer.project_name, config.trainer.experiment_name) == ("demo", RUN)
    prepare(config, tmp_path / "work", print)
    first = process.environment(config, "/tmp/folder")
    prepare(config, tmp_path / "work", print)
    assert (
        process.environment(config, "/tmp/folder")["WANDB_RUN_ID"] == first["WANDB_RUN_ID"] == first["SWANLAB_RUN_ID"]
    )
    assert first["WANDB_MODE"] == first["SWANLAB_MODE"] == "offline" and first["WANDB_RESUME"] == "allow"
    places = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "TRACKIO_DIR")
    places = (*places, "SWANLAB_LOG_DIR", "SWANLAB_SAVE_DIR", "MLFLOW_TRACKING_URI")
    assert all(str(tmp_path / "trackers") in first[key] for key in places)
    config = tracked(small(inputs, tmp_path, "egpo", learning_rate=1e-3), tmp_path, *ALL)
    prepare(config, tmp_path / "work", print)
    assert process.environment(config, "/tmp/folder")["WANDB_RUN_ID"] != first["WANDB_RUN_ID"], "it starts anew"


def test_the_users_own_variables_win_but_for_the_run(inputs, tmp_path, monkeypatch):
    given = {"WANDB_MODE": "online", "MLFLOW_TRACKING_URI": "http://tracking:5000", "WANDB_RUN_ID": "mine"}
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    config = tracked(small(inputs, tmp_path, "egpo"), tmp_path, *ALL)
    prepare(config, tmp_path / "work", print)
    found = process.environment(config, "/tmp/folder")
    assert {key: found[key] for key in given if key != "WANDB_RUN_ID"} == {
        key: value for key, value in given.items() if key != "WANDB_RUN_ID"
    }
    assert found["WANDB_RUN_ID"] != "mine", "one id cannot be that of several trainings"


def test_without_trackers_nothing_is_set(inputs, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    config = small(inputs, tmp_path, "egpo")
    assert config.trainer.logger == [] and trackers.defaults(config) == trackers.same_run(config) == {}


# --- no part of a result ------------------------------------------------------------------------------


def test_checkpoints_stay_those_of_the_training(inputs, tmp_path):
    prepare(small(inputs, tmp_path, "egpo"), tmp_path / "work", print)
    reports: list[str] = []
    prepare(tracked(small(inputs, tmp_path, "egpo"), tmp_path, "wandb"), tmp_path / "work", reports.append)
    assert reports == []


def test_code_of_trackers_does_not_count():
    found = modules(*STAGES["train_model"].code)
    assert "verl_plugin/trainer.py" in found
    assert not {"training/trackers.py", "verl_plugin/tracking.py"} & found.keys()


# --- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_package_that_is_missing_is_refused_with_the_command(demo, monkeypatch, name):
    monkeypatch.setattr(trackers, "find_spec", lambda package: None)
    with pytest.raises(UserError) as caught:
        load_checked({**demo, "trackers": [name]}, "mine.yaml")
    way = f"-m pip install --no-deps {OPTIONAL[name]}`" if name in OPTIONAL else "Run `make env`"
    assert f"mine.yaml: trackers: the package of '{name}' is not installed" in str(caught.value)
    assert way in str(caught.value)


def test_other_mistakes_are_named(demo):
    with pytest.raises(UserError, match=r"trackers\.0: 'wandbb'"):
        load_checked({**demo, "trackers": ["wandbb"]}, "mine.yaml")
    with pytest.raises(UserError, match="trackers: an entry is listed twice"):
        load_checked({**demo, "trackers": ["wandb", "wandb"]}, "mine.yaml")
    with pytest.raises(UserError, match=r"trainer\.logger: cannot be overridden; set trackers"):
        demo["training"]["overrides"] = {"trainer.logger": ["wandb"]}
        load_checked(demo, "mine.yaml")


# --- none ends a training -----------------------------------------------------------------------------


class Failing:
    """Stands for a logger of verl whose service is away."""

    def log(self, data, step):
        raise SystemExit(f"no answer for {data}")

    def finish(self, exit_code=0):
        raise ConnectionError("still away")


def test_a_tracker_that_fails_is_named_once(capsys):
    logger = Background("wandb", Failing)
    for step in range(3):
        logger.log({"a": step}, step)
    logger.finish()
    text = capsys.readouterr().out
    assert text.count("warning: the tracker wandb") == 1 and "failed at step 0 (SystemExit: no answer" in text


def test_a_tracker_that_does_not_start_or_hangs_is_left_behind(capsys, monkeypatch):
    logger = Background("mlflow", lambda: 1 / 0)
    logger.log({}, 1)
    logger.finish()
    assert "the tracker mlflow did not start (ZeroDivisionError" in capsys.readouterr().out
    monkeypatch.setattr(tracking, "SECONDS_TO_FINISH", 0.01)
    hangs = threading.Event()
    Background("trackio", hangs.wait).finish()
    assert "the tracker trackio has not stored everything" in capsys.readouterr().out
    hangs.set()


# --- a real training, killed and resumed --------------------------------------------------------------

STEPS, SAVE_EVERY, KILLED_AFTER, STOPPED_AT = 6, 2, 3, 4


@pytest.fixture(scope="module")
def killed_and_resumed(inputs, tmp_path_factory) -> Path:
    """A training of verl with every tracker that is installed: killed, resumed, stopped by its limit, resumed."""
    out = tmp_path_factory.mktemp("tracked")
    names = [name for name in ALL if trackers.remedy(name) is None]
    config = tracked(small(inputs, out, "egpo", total_training_steps=STEPS, save_freq=SAVE_EVERY), out, *names)
    home = {"HOME": str(out / "home")}
    (out / "home").mkdir()
    metrics = out / "work" / "metrics.jsonl"

    run = start(config, out, **home)
    until(
        "the step", lambda: any(line["step"] == KILLED_AFTER for line in read_lines(metrics)) or run.poll() is not None
    )
    assert run.poll() is None, (out / "log").read_text()[-3000:]
    for pid in descendants(run.pid):
        if b"egpo.verl_plugin.driver" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            os.kill(pid, 9)
    assert run.wait(LIMIT) != 0
    stopped = start(config, out, last_step=STOPPED_AT, **home)
    assert stopped.wait(LIMIT) != 0
    # Steps take a second: the next one may be under way when the limit is noticed.
    assert re.search(rf"saved after step ({STOPPED_AT}|{STOPPED_AT + 1})\b", (out / "log").read_text())
    last = start(config, out, **home)
    assert last.wait(LIMIT) == 0, (out / "log").read_text()[-3000:]
    return out


def installed(name: Tracker) -> None:
    if (way := trackers.remedy(name)) is not None:
        pytest.skip(f"{name} is not installed. {way}")


ONCE = list(range(STEPS + 1))


@pytest.mark.slow
def test_metrics_have_each_step_once_and_nothing_is_left_in_home(killed_and_resumed):
    assert [line["step"] for line in read_lines(killed_and_resumed / "metrics.jsonl")] == ONCE
    left = [file for file in (killed_and_resumed / "home").rglob("*") if file.is_file()]
    assert not [file for file in left if any(name in str(file) for name in ALL)], left


@pytest.mark.slow
def test_tensorboard_shows_each_step_once(killed_and_resumed):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(killed_and_resumed / "work" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars(REWARD)] == ONCE[1:]


def leveldb_records(content: bytes, place: int) -> Iterator[bytes]:
    """Records of a file in the format of LevelDB's log, from a place in it."""
    block, head, parts = 2**15, 7, []  # a checksum, a length and a kind stand before each part of a record
    while place + head <= len(content):
        if (left := block - place % block) < head:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        parts.append(content[place + head : place + head + length])
        place += head + length
        if kind in (1, 4):  # the whole record, or its last part
            yield b"".join(parts)
            parts = []


def wandb_records(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """(run id, its steps) of each file that W&B keeps for `wandb sync`."""
    from wandb.proto.wandb_internal_pb2 import Record

    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        run, steps = "", []
        for data in leveldb_records(file.read_bytes(), len(b":W&B") + 3):
            record = Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "run":
                run = record.run.run_id
            elif record.WhichOneof("record_type") == "history":
                values = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
                steps += [int(values["_step"])] if REWARD in values else []
        yield run, steps


@pytest.mark.slow
def test_wandb_has_one_id_for_the_files_of_all_attempts(killed_and_resumed):
    found = list(wandb_records(killed_and_resumed / "trackers"))
    assert {run for run, _ in found} == {(killed_and_resumed / "work" / trackers.RUN_ID).read_text()}
    assert [steps for _, steps in found][1:] in ([[3, 4], [5, 6]], [[3, 4, 5], [6]])


@pytest.mark.slow
def test_mlflow_has_one_run(killed_and_resumed, monkeypatch):
    installed("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    client = MlflowClient((killed_and_resumed / "trackers" / "mlflow").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("demo").experiment_id])
    assert run.info.run_name == RUN and run.info.status == "FINISHED"
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, REWARD)]
    assert sorted(set(steps)) == ONCE[1:]


@pytest.mark.slow
def test_trackio_has_one_run(killed_and_resumed):
    installed("trackio")
    (file,) = (killed_and_resumed / "trackers" / "trackio").glob("demo*.db")
    rows = sqlite3.connect(file).execute("select run_id, run_name, step, metrics from metrics order by id").fetchall()
    steps = [step for _, _, step, metrics in rows if REWARD in json.loads(metrics)]
    assert {row[1] for row in rows} == {RUN} and len({row[0] for row in rows}) == 1
    assert sorted(set(steps)) == ONCE[1:]


@pytest.mark.slow
def test_swanlab_has_one_id_for_the_folders_of_all_attempts(killed_and_resumed):
    installed("swanlab")
    found = sorted(path.name for path in (killed_and_resumed / "trackers" / "swanlab").glob("run-*"))
    assert len(found) == 3
    assert all(name.endswith((killed_and_resumed / "work" / trackers.RUN_ID).read_text()) for name in found)
