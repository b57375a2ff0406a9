"""How a study goes on when something fails, ends or changes. Its trainings are forks here too, of a made-up measure."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from waiting import until

from egpo.analysis.learning import VALIDATION
from egpo.cli import study as command
from egpo.cli.check import load_checked
from egpo.common import git, provenance
from egpo.common.errors import UserError
from egpo.common.files import write_json
from egpo.common.paths import BASE, ROOT, Paths
from egpo.config.files import read_yaml
from egpo.study import measure, origin, request, rows, run, steps, summary, trainings

STUDY = load_checked(read_yaml(ROOT / "config" / "study.yaml"), "config/study.yaml")
ORIGIN = ("m", "d", "c", "p")
Measured = Callable[[str, int], None]


@pytest.fixture
def study(tmp_path, monkeypatch) -> Iterator[Callable[..., int]]:
    """Runs a study of seed 1 in `tmp_path` to its end, and gives its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "import_everything", lambda: None)
    monkeypatch.setattr(request, "origin", lambda *_: ORIGIN)
    monkeypatch.setattr(git, "ROOT", tmp_path)
    (tmp_path / "questions.json").write_text("{}")

    def start(measured: Measured, methods: tuple[str, ...] = ("grpo", "egpo"), **more: object) -> int:
        def measure_(catalogue, backbone, method, seed, questions, report):
            measured(method, seed)
            made = [] if method == BASE else [{"step": step, "reward": -0.5} for step in (1, 2)]
            return {"greedy": 0.25, "sampled": 0.5, "steps": len(made)}, made, None

        monkeypatch.setattr(measure, "measure", measure_)
        values = {"catalogue": STUDY.model_dump(mode="json"), "out": "out/rows.csv", "questions": "questions.json"}
        values |= {"methods": methods, "seeds": [1], "at_once": 1, "commit": False, "command": "egpo study", **more}
        Path("request.json").write_text(json.dumps(values))
        return run.main(Path("request.json"))

    before = {number: signal.getsignal(number) for number in trainings.SIGNALS}
    yield start
    for number, handler in before.items():
        signal.signal(number, handler)


def table() -> pd.DataFrame:
    return rows.read(Path("out/rows.csv"))


def fine(method: str, seed: int) -> None:
    """A training that ends well."""


def test_every_training_gets_a_row_and_its_steps_once(study):
    for _ in range(2):
        assert study(fine) == 0
        assert list(table()["method"]) == ["base", "grpo", "egpo"] and set(table()["status"]) == {"ok"}
        assert table()[rows.ORIGIN].drop_duplicates().values.tolist() == [list(ORIGIN)]
        made = steps.of_rows(steps.read(Path("out/rows.csv")), table())
        assert list(made["method"]) == ["grpo", "grpo", "egpo", "egpo"] and list(made["step"]) == [1, 2, 1, 2]
    assert not list(Path("results/study/study/rows").iterdir())


def test_a_failed_training_is_tried_again_after_the_rest_of_its_seed(study, capsys):
    def grpo_fails(method: str, seed: int) -> None:
        if method == "grpo":
            raise RuntimeError("no good")

    assert study(grpo_fails) == 1
    assert table()[["method", "attempt"]].values.tolist() == [["base", 1], ["grpo", 1], ["egpo", 1], ["grpo", 2]]
    assert "RuntimeError: no good" in set(table()["reason"])
    assert "failed twice: grpo, seed 1" in capsys.readouterr().out
    assert study(fine) == 1 and len(table()) == 4, "nothing is tried a third time"


@pytest.mark.parametrize("how", ["raises", "is killed"])
def test_a_machine_at_fault_stops_the_study(study, capsys, how):
    def nothing_works(method: str, seed: int) -> None:
        if method == BASE:
            return
        if how == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(28, "No space left on device")

    methods = ("grpo", "egpo", "nsr_only", "constant_weight")
    assert study(nothing_works, methods) == 1
    assert list(table()["method"]) == ["base", *methods[:3]]
    assert "3 trainings in a row have failed" in capsys.readouterr().out
    reasons = {"raises": "OSError: [Errno 28] No space left on device", "is killed": "ended with code -9"}
    assert set(table()["reason"].dropna()) == {reasons[how]}
    assert study(fine, methods) == 0, "each has another attempt"


def test_a_commit_that_fails_is_made_up_for_by_the_next(study, capsys, tmp_path):
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout

    git("init", "--quiet")
    git("config", "user.email", "a@b")
    git("config", "user.name", "a")
    lock = tmp_path / ".git" / "index.lock"  # as another git leaves it

    def unlock(method: str, seed: int) -> None:
        if method == "egpo":
            lock.unlink()

    lock.touch()
    assert study(unlock, commit=True) == 0
    assert capsys.readouterr().out.count("warning: this row is not committed") == 2
    assert git("show", "HEAD:out/rows.csv") == Path("out/rows.csv").read_text()
    assert git("show", "HEAD:out/steps.csv") == Path("out/steps.csv").read_text()
    assert git("log", "--format=%s") == "Study: egpo, seed 1, on tiny-hard\n"


def test_an_edit_of_the_checkout_stops_the_study(study, capsys, monkeypatch):
    Path("code").write_text("c")
    monkeypatch.setattr(request, "origin", lambda *_: ("m", "d", Path("code").read_text(), "p"))
    assert study(lambda method, seed: Path("code").write_text(method) and None) == 1
    assert list(table()["method"]) == ["base"] and list(table()["code"]) == ["c"]
    assert "code of tiny-hard: not what it was when this run began" in capsys.readouterr().out


def test_what_had_finished_without_a_row_is_taken_and_not_trained_again(study):
    def not_again(method: str, seed: int) -> None:
        assert method != "grpo"

    folder = Path("results/study/study/rows")
    folder.mkdir(parents=True)
    row = {"backbone": "tiny-hard", "seed": 1, "attempt": 1, "status": "ok", "sampled": 0.75}
    row |= dict(zip(rows.ORIGIN, ORIGIN, strict=True))
    grpo = row | {"method": "grpo", "of_steps": [{"step": 1}]}
    steps.append(Path("out/rows.csv"), {**grpo}, [{"step": 1}])  # the run was killed before it had added the row
    (folder / "tiny-hard-grpo-1-1.json").write_text(json.dumps(grpo))
    (folder / "tiny-hard-egpo-1-1.json").write_text(json.dumps(row | {"method": "egpo", "model": "another"}))
    assert study(not_again) == 0
    assert dict(zip(table()["method"], table()["sampled"], strict=True)) == {"grpo": 0.75, "base": 0.5, "egpo": 0.5}
    assert list(steps.read(Path("out/rows.csv"))["method"]) == ["grpo", "egpo", "egpo"]


def test_a_second_signal_does_not_abandon_a_training_that_saves(study, tmp_path):
    def saves(method: str, seed: int) -> None:
        if method == "grpo":
            try:
                os.kill(os.getppid(), signal.SIGINT)
                time.sleep(60)
            except SystemExit:
                for number in trainings.SIGNALS:
                    os.kill(os.getppid(), number)
                time.sleep(0.5)
                (tmp_path / "saved").touch()
                raise

    assert study(saves) == 130
    assert (tmp_path / "saved").exists() and list(table()["method"]) == ["base"]


def test_a_terminals_interrupt_reaches_a_training_as_the_request_to_save(study, tmp_path):
    def saves(method: str, seed: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)  # a terminal sends it to all processes
        try:
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(60)
        except SystemExit:
            (tmp_path / "saved").touch()
            raise

    assert study(saves) == 130 and (tmp_path / "saved").exists() and table().empty


def test_an_unknown_child_is_let_be(study):
    if (pid := os.fork()) == 0:
        os._exit(7)
    assert study(fine) == 0 and len(table()) == 3
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


STARTS = """
import os, sys
from pathlib import Path
from egpo.cli.study import start
print(start(Path(sys.argv[1]), os.environ).pid, flush=True)
input()
"""


def test_a_killed_command_leaves_no_second_writer(tmp_path):
    fifo = tmp_path / "request.json"
    os.mkfifo(fifo)
    command = subprocess.Popen(
        [sys.executable, "-c", STARTS, str(fifo)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    pid = int(command.stdout.readline())
    with fifo.open("w"):  # once it reads its request
        command.kill()
        command.wait()
        until("the end of what it started", lambda: not psutil.pid_exists(pid) or _is_zombie(pid))


def _is_zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_an_evaluation_that_hangs_fails_at_its_limit(monkeypatch):
    experiment = STUDY.experiment
    needs = experiment.jobs.evaluate.model_copy(update={"minutes": 0.1 / 60})
    jobs = experiment.jobs.model_copy(update={"evaluate": needs})
    catalogue = STUDY.model_copy(update={"experiment": experiment.model_copy(update={"jobs": jobs})})
    monkeypatch.setattr(measure, "answers", lambda *_: Future().result())
    with pytest.raises(TimeoutError, match=r"jobs\.evaluate\.minutes"):
        measure.measure(catalogue, "tiny-hard", BASE, 0, {}, print)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


# --- what a row says -------------------------------------------------------------------------------


def answered(rows_: list[tuple]) -> pd.DataFrame:
    columns = ["benchmark", "question", "right", "entropy", "truncated", "failed"]
    return pd.DataFrame(rows_, columns=columns).assign(tokens=9)


def test_gaps_and_digits_of_answers_are_those_of_hand():
    sampled = answered(
        [
            ("one", 0, True, 0.1, False, False),
            ("one", 0, False, 0.2, True, False),  # a question with both outcomes
            ("one", 1, False, 0.6, False, False),
            ("one", 1, False, 0.8, True, False),
            ("two", 0, True, 0.3, False, False),
            ("two", 0, False, float("nan"), False, True),
        ]
    )
    row = summary.of_answers(sampled, sampled)
    assert row["sampled_right"] == "10|1" and row["sampled_truncated"] == "11|0" and row["unanswered"] == 2
    assert row["gap"] == pytest.approx((0.2 + 0.6 + 0.8) / 3 - (0.1 + 0.3) / 2)
    assert row["gap_ended"] == pytest.approx(0.6 - 0.2)
    assert row["gap_within"] == pytest.approx(0.1)
    assert row["gap_low"] <= row["gap"] <= row["gap_high"]
    assert summary.of_answers(sampled, sampled) == row, "its resamples are seeded"


def test_the_interval_of_a_gap_is_over_questions_and_not_over_answers():
    rng = np.random.default_rng(1)
    made = []
    for question in range(60):
        level = rng.normal(0, 0.1)
        made += [("one", question, bool(question % 2), 1 + level, False, False)] * 4
    row = summary.of_answers(answered(made), answered(made))
    means = pd.DataFrame(made).groupby(1)[3].mean()
    error = (means[::2].var() / 30 + means[1::2].var() / 30) ** 0.5
    assert row["gap_high"] - row["gap_low"] == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert math.isnan(row["gap_within"]), "no question has both outcomes"


def test_a_row_and_its_steps_come_from_the_record_of_a_training(tmp_path):
    lines = [{"step": 0, "time": 1.0, VALIDATION: 0.25}]
    for step in (1, 2, 3):
        lines.append({"step": step, "time": 10.0 * step, VALIDATION: 0.5, "actor/lr": 1.0})
        lines[-1] |= {metric: 0.123456 * step for metric in steps.METRICS.values()}
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    responses = {"step": [1, 1, 3, 3], "group": list("aabb"), "correct": [True, False, True, True]}
    kinds = ["mixed", "mixed", "entirely_correct", "entirely_correct"]
    pd.DataFrame(responses | {"kind": kinds}).to_parquet(tmp_path / "responses.parquet")
    row, made = summary.of_training(tmp_path, since=15.0)
    assert row["steps"] == 3 and row["resumed"] == 1
    assert row["first_pass_rate"] == 0.5 and row["last_pass_rate"] == 1
    assert row.keys() <= rows.COLUMNS.keys() and [one["step"] for one in made] == [1, 2, 3]
    key = {"backbone": "b", "method": "m", "seed": 1, "attempt": 1} | dict(zip(rows.ORIGIN, ORIGIN, strict=True))
    steps.append(tmp_path / "rows.csv", key, made)
    table = steps.read(tmp_path / "rows.csv")
    assert table["reward"].tolist() == [0.1235, 0.2469, 0.3704] and list(table.columns) == steps.COLUMNS
    assert len(steps.of_rows(table, pd.DataFrame([key]))) == 3
    assert steps.of_rows(table, pd.DataFrame([key | {"model": "another"}])).empty


def test_a_whole_study_stays_below_a_megabyte(tmp_path):
    rng, out = np.random.default_rng(1), tmp_path / "rows.csv"
    digits = "|".join(["2" * 150] * 2)
    row = dict.fromkeys(rows.COLUMNS, 0.123456) | dict.fromkeys(rows.TEXTS[:3], digits)
    row |= {"backbone": "tiny-hard", "method": "permuted_entropy", "seed": 20, "attempt": 1, "status": "ok"}
    row |= {"reason": "", "model": 16 * "a", "data": 16 * "a", "code": 16 * "a", "processor": 45 * "a"}
    row |= {"commit": 11 * "a", "command": 200 * "a", "date": "2026-11-29"}
    made = [{"step": 30} | dict.fromkeys(steps.METRICS, -abs(rng.random())) for _ in range(30)]
    rows.append(out, row)
    steps.append(out, row, made)
    size = sum(len(file.read_text().partition("\n")[2]) for file in (out, steps.file_of(out)))
    trainings_ = len(STUDY.experiment.methods) * len(STUDY.experiment.training_seeds)
    assert trainings_ == 120 and trainings_ * size < 1_000_000, trainings_ * size


# --- where it comes from ---------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path, monkeypatch) -> Iterator[Path]:
    """Inputs of a study, and a copy of the code, in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    paths = Paths("study")
    inputs = [paths.output("data_pool", part) for part in ("train", "validation")]
    for file in (*inputs, paths.backbone("tiny-hard") / "model" / "model.safetensors", tmp_path / "questions.json"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("before")
    shutil.copytree(provenance.PACKAGE, tmp_path / "egpo", ignore=shutil.ignore_patterns("__pycache__"))
    with monkeypatch.context() as patched:
        patched.setattr(provenance, "PACKAGE", tmp_path / "egpo")
        patched.setattr(origin, "processor", lambda: "p")
        yield tmp_path
    provenance.read_again()


@pytest.mark.parametrize(
    ("edited", "changed"),
    [
        ("results/study/backbones/tiny-hard/model/model.safetensors", {"model"}),
        ("results/study/data/train.parquet", {"data"}),
        ("results/study/data/validation.parquet", {"data"}),
        ("questions.json", {"data"}),
        *((f"egpo/{name}.py", {"code"}) for name in ("study/measure", "study/summary", "uncertainty/measures")),
        *((f"egpo/{name}.py", {"code"}) for name in ("evaluation/records", "inference/engine_process")),
        *((f"egpo/{name}.py", {"code"}) for name in ("verl_plugin/trainer", "verl_plugin/cpu/rollouts")),
        *((f"egpo/{name}.py", set()) for name in ("study/page", "study/results", "report/page")),
    ],
)
def test_an_origin_counts_what_decides_a_row(files, edited, changed):
    before = origin.origin(STUDY, "tiny-hard", files / "questions.json")
    with (files / edited).open("a") as file:
        file.write("\nEDITED = True\n")
    after = origin.origin(STUDY, "tiny-hard", files / "questions.json")
    assert {name for name, *both in zip(rows.ORIGIN, before, after, strict=True) if both[0] != both[1]} == changed


def test_a_processor_has_a_name_and_torchs_instructions():
    import torch

    assert origin.processor().endswith(f", {torch.backends.cpu.get_cpu_capability()}")
    assert len(origin.processor()) > len(torch.backends.cpu.get_cpu_capability()) + 2


def test_a_warm_up_that_missed_its_range_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = Paths("study")
    for file in (paths.output("data_pool", "train"), paths.output("benchmark_make")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    manifest = paths.backbone("tiny-hard") / "manifest.json"
    write_json(manifest, {"in_range": True, "found": "a fair start"})
    command._check(STUDY, ["config/study.yaml"])
    write_json(manifest, {"in_range": False, "found": "pass rate 0.50"})
    with pytest.raises(UserError, match=r"has missed its range.*pass rate 0\.50"):
        command._check(STUDY, ["config/study.yaml"])


def test_a_study_that_is_not_as_planned_does_not_start():
    experiment = STUDY.experiment.model_copy(update={"scored_by": "evalscope"})
    with pytest.raises(UserError, match=r"claims: not as planned in docs/study/claims.yaml \(scored_by"):
        command._check(STUDY.model_copy(update={"experiment": experiment}), ["config/study.yaml"])
