"""`egpo status`: what it shows of folders in every state, and which line of a log it picks.

Files of running jobs are written here by the code that writes them in a real run; Ray's errors are Ray's own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import traceback
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from ray.exceptions import ActorDiedError, RayTaskError

from egpo.cli.main import main
from egpo.cli.status.page import WIDTH, status
from egpo.cli.status.progress import total_steps
from egpo.common.errors import UserError
from egpo.common.files import write_json
from egpo.common.paths import ROOT, Paths
from egpo.common.stages import STAGES
from egpo.config.loader import load
from egpo.evaluation.trials import list_trials
from egpo.runtime.lease import hold
from egpo.runtime.root_cause import root_cause, slurm_line
from egpo.training.measured import DIFFERENCE
from egpo.training.progress import REWARD, Heartbeat, MetricsLog
from egpo.uncertainty.rollouts import shards

# --- the line that matters -------------------------------------------------------------------------

ENDED = (
    "[10:00:09] train tiny-math egpo seed 1: failed: RuntimeError: verl's trainer ended with code 1 at 'step 3: "
    "update'; the first error above in this log is the cause. Run again to resume.\n"
    "[10:00:09] train tiny-math egpo seed 1: The complete log is in results/x/logs/train/tiny-math/egpo/seed-1.log\n"
)
OWN_END = f"""Traceback (most recent call last):
  File "/x/src/egpo/runtime/job.py", line 83, in stage
    yield report
RuntimeError: {ENDED.split("RuntimeError: ")[1].split(chr(10))[0]}
{ENDED}"""


def printed(error: Exception) -> str:
    """What Python prints for an error that ends a process."""
    try:
        raise error
    except Exception:
        return traceback.format_exc()


def from_ray(cause: Exception) -> Exception:
    """An error of a worker as Ray raises it in the driver."""
    told = RayTaskError(
        "update_actor", printed(cause), cause, proctitle="ray::WorkerDict.update_actor", pid=7, ip="::1"
    )
    return told.as_instanceof_cause()


def test_a_message_for_the_user_wins():
    log = f"{printed(ValueError('odd'))}[10:00:00] data: error: config/x.yaml: key: wrong.\n[10:00:00] data: more\n"
    assert root_cause(log) == "config/x.yaml: key: wrong."


def test_a_message_behind_a_progress_bar_is_found():
    log = "Training Progress:  25%|##  | 2/8 [00:14<00:43,  7.31s/it][22:54:41] train m egpo seed 1: error: too long\n"
    assert root_cause(log) == "too long"


def test_what_ray_carries_is_found_behind_what_it_says_of_it():
    log = printed(from_ray(ValueError("lengths 3 and 4 differ")))
    assert "RayTaskError(ValueError): " in log
    assert root_cause(log) == root_cause(log + OWN_END) == "ValueError: lengths 3 and 4 differ"


def test_an_error_in_the_making_of_an_actor():
    log = printed(ActorDiedError(RayTaskError("f", printed(KeyError("model")), KeyError("model"), "ray::A", 7, "::1")))
    assert "raised in its creation task" in log
    assert root_cause(log + OWN_END) == "KeyError: 'model'"


def test_an_actor_that_was_killed_is_itself_the_cause():
    found = root_cause(printed(ActorDiedError()) + OWN_END)
    assert found == "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task."


def test_a_chain_is_told_by_its_first_error():
    try:
        try:
            raise OSError(28, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904
    except RuntimeError as error:
        log = "".join(traceback.format_exception(error))
    assert "During handling" in log
    assert root_cause(log) == root_cause(log + OWN_END) == "OSError: [Errno 28] No space left on device"


OUT_OF_MEMORY = """\x1b[36m(WorkerDict pid=31399)\x1b[0m INFO:2026-11-24 22:54:40,656:update_weights done
ray.exceptions.RayTaskError(OutOfMemoryError): \x1b[36mray::WorkerDict.update_actor()\x1b[39m (pid=31399, ip=10.0.0.2)
  File "/x/verl/workers/engine_workers.py", line 500, in update_actor
    loss.backward()
    ^^^^^^^^^^^^^^^
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.90 GiB. GPU 0 has a total capacity of 79.11 GiB.
\x1b[36m(CpuServer pid=29857)\x1b[0m Traceback (most recent call last):
\x1b[36m(CpuServer pid=29857)\x1b[0m   File "/usr/lib/python3.11/socket.py", line 706, in readinto
\x1b[36m(CpuServer pid=29857)\x1b[0m ConnectionResetError: [Errno 104] Connection reset by peer
"""
DEAD_ENGINE = """(WorkerDict pid=5) Traceback (most recent call last):
(EngineCore_DP0 pid=77) ERROR 07-01 10:00:00 [core.py:700] EngineCore failed to start.\r
(EngineCore_DP0 pid=77) ERROR 07-01 10:00:00 [core.py:700] Traceback (most recent call last):\r
(WorkerDict pid=5)   File "/x/w.py", line 1, in f
(EngineCore_DP0 pid=77) ERROR 07-01 10:00:00 [core.py:700]   File "/x/vllm/v1/core/kv_cache_utils.py", line 1, in g\r
(WorkerDict pid=5) ModuleNotFoundError: No module named 'flash_attn'
(EngineCore_DP0 pid=77) ERROR 07-01 10:00:00 [core.py:700] ValueError: To serve at least one request with the models's
Traceback (most recent call last):
  File "/x/vllm/v1/engine/utils.py", line 964, in wait_for_engine_startup
    raise RuntimeError(
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore_DP0': 1}
[10:00:03] evaluate m base seed 0: failed: EngineError: the vLLM process has ended; its output is in the log.
"""
REFUSED = """Traceback (most recent call last):
  File "/x/vllm/engine/arg_utils.py", line 1, in create_engine_config
    config = VllmConfig(
pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig
  Value error, User-specified max_model_len (8192) is greater than the derived max_model_len (4096).
    For further information visit the documentation
"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (OUT_OF_MEMORY + OWN_END, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.90 GiB. GPU 0"),
        (DEAD_ENGINE, "ValueError: To serve at least one request with the models's"),
        (REFUSED, "pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig Value error, User-"),
        (ENDED.replace("code 1", "code -9"), "RuntimeError: verl's trainer ended with code -9 at 'step 3: update'"),
    ],
)
def test_logs_of_torch_vllm_and_of_a_killed_trainer(log, expected):
    found = root_cause(log)
    assert found is not None and found.startswith(expected), found


IGNORED = """stopped by SIGTERM
Exception ignored in: <module 'threading'>
Traceback (most recent call last):
  File "/x/threading.py", line 1541, in _shutdown
    def _shutdown():

  File "/x/src/egpo/runtime/job.py", line 62, in _terminate
    raise SystemExit("stopped by SIGTERM")
SystemExit: stopped by SIGTERM
"""


@pytest.mark.parametrize(
    "log",
    [
        "",
        "[10:00:00] data: 12 rows\n",
        IGNORED,
        IGNORED.partition("\n")[2],
        printed(ValueError("x")) + "[10:00:00] data: interrupted; run the same command again to go on\n",
    ],
)
def test_no_line_where_nothing_failed(log):
    assert root_cause(log) is None


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("slurmstepd: error: *** JOB 7 ON gpu1 CANCELLED AT 2026-07-01T10:00:00 DUE TO TIME LIMIT ***", "DUE TO TIME"),
        (
            "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some of the step tasks have been OOM Killed.\n"
            "srun: error: gpu1: task 0: Out Of Memory\n"
            "slurmstepd: error: *** STEP 7.0 ON gpu1 CANCELLED AT 2026-07-01T10:00:00 ***\n",
            "task 0: Out Of Memory",
        ),
        (
            "slurmstepd: error: *** JOB 7 ON gpu1 CANCELLED AT 2026-07-01T10:00:00 ***\nError in rule x\n",
            "CANCELLED AT",
        ),
    ],
)
def test_what_slurm_said(log, expected):
    assert expected in (slurm_line(log) or "")


def test_slurm_said_nothing():
    assert slurm_line("Building DAG of jobs...\nsrun: job 7 queued\nFinished jobid: 0\n") is None


# --- the view --------------------------------------------------------------------------------------


@pytest.fixture
def catalogue(demo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return load(demo, "config/demo.yaml")


@pytest.fixture
def held():
    with ExitStack() as stack:
        yield lambda work: stack.enter_context(hold(work, print))


def columns(text: str, table: str, model: str) -> list[str]:
    """The columns of a model's row in one of the tables."""
    (part,) = (part for part in text.split("\n\n") if part.startswith(f"{table} "))
    (row,) = (line for line in part.splitlines() if re.match(rf"{re.escape(model)} {{2,}}", line))
    return re.split(" {2,}", row.removeprefix(model).strip())


def train_folder(method: str) -> Path:
    return Path("results/demo/train/tiny-math") / method / "seed-1"


def write_steps(work: Path, steps: int, **more: float) -> None:
    """Heartbeat and metrics of a training, by the classes that write them in a real one; more: of every step."""
    work.mkdir(parents=True)
    Heartbeat(work / "heartbeat.json")(f"step {steps + 1}: rollouts")
    log = MetricsLog(work / "metrics.jsonl", lambda _: None)
    log.log({"val-core/acc": 0.5}, 0)
    for step in range(1, steps + 1):
        log.log({REWARD: -1 + step / 4, "timing_s/step": 90.0 if step == 1 else 20.0, **more}, step)


def write_log(kind: str, text: str) -> Path:
    log = Path("results/demo/logs") / kind / "tiny-math/egpo/seed-1.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text)
    return log


def test_an_empty_experiment_waits(catalogue):
    text = status(catalogue)
    steps, items = (
        catalogue.experiment.training.total_training_steps,
        sum(one.num_questions for one in catalogue.benchmarks.values()),
    )
    trials = len(catalogue.experiment.evaluation.seeds)
    assert columns(text, "Training", "tiny-math grpo 1") == ["waiting", f"0/{steps}"]
    assert columns(text, "Evaluation", "tiny-math base 0") == [
        "waiting",
        f"0/{items * trials}",
        f"0/{len(catalogue.benchmarks) * trials}",
    ]
    assert text.splitlines()[0] == "results/demo: no Snakemake is running it"
    assert "Ended without a result" not in text
    assert "Trainings: 0 done, 0 running, 2 waiting, 0 stopped, 0 failed." in text
    assert not Path("results").exists(), "looking writes nothing"


def test_a_training_that_runs_has_step_reward_pace_and_time_left(catalogue, held):
    folder, steps = train_folder("egpo"), catalogue.experiment.training.total_training_steps
    write_steps(folder / "work", 4)
    held(folder / "work")
    held(Path("results/demo/driver"))
    text = status(catalogue)
    state, step, reward, pace, left, age = columns(text, "Training", "tiny-math egpo 1")
    assert (state, step, reward, pace) == ("running", f"4/{steps}", "0.00", "20.0")
    minutes, seconds = divmod(20 * (steps - 4), 60)
    assert left == f"{minutes} min {seconds:02d} s"
    assert re.fullmatch(r"\d+ s", age)
    assert f"process {os.getpid()} on " in text.splitlines()[0]
    assert "0 done, 1 running, 1 waiting" in text


def test_what_verl_measured_is_a_row_for_each_training_with_a_step(catalogue):
    phases = ("gen", "old_log_prob", "adv", "update_actor", "update_weights", "save_checkpoint")
    values = {f"timing_s/{phase}": 0.16 * 10**number for number, phase in enumerate(phases)}
    memory = {"actor/perf/max_memory_allocated_gb": 80.4, "actor/perf/cpu_memory_used_gb": 512.0}
    shares = {"actor/pg_clipfrac": 0.001, "actor/pg_clipfrac_lower": 0.0, "response_length/clip_ratio": 0.125}
    assert "Measured" not in status(catalogue)
    work = train_folder("egpo") / "work"
    write_steps(work, 3, **values, **memory, **shares, **{"perf/throughput": 12345.0, DIFFERENCE: 0.0012})
    text = status(catalogue)
    assert columns(text, "Measured", "tiny-math egpo 1") == [
        "12345",
        "80/512",
        "0.2/1.6/16/160/1600/16000/-",
        "1e-03",
        "0.1/0.0/12",
    ]
    (part,) = (part for part in text.split("\n\n") if part.startswith("Measured "))
    assert "Warnings" not in text and "tiny-math grpo" not in part, "which has no step"
    assert max(map(len, text.splitlines())) <= WIDTH


def test_a_difference_that_is_not_finite_is_a_warning(catalogue):
    write_steps(train_folder("egpo") / "work", 3, **{DIFFERENCE: float("nan")})
    text = status(catalogue)
    assert columns(text, "Measured", "tiny-math egpo 1")[3] == "-"
    assert "is not measured in 3 of 3 steps" in " ".join(text.split("Warnings:")[1].split())


def test_files_that_were_cut_off_do_no_harm(catalogue, held):
    folder, steps = train_folder("egpo"), catalogue.experiment.training.total_training_steps
    write_steps(folder / "work", 4)
    metrics = folder / "work" / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-20])
    (folder / "work" / "heartbeat.json").write_text('{"phase": "st')
    held(folder / "work")
    assert columns(status(catalogue), "Training", "tiny-math egpo 1")[:2] == ["running", f"3/{steps}"]


@pytest.mark.parametrize("line", ['{"step": 1}', '{"reward": 1}', f'{{"step": 5, "{REWARD}": null}}', '{"step": "x"}'])
def test_a_line_of_metrics_that_lacks_something_does_no_harm(catalogue, line):
    work = train_folder("egpo") / "work"
    write_steps(work, 4)
    with (work / "metrics.jsonl").open("a") as file:
        file.write(line + "\n")
    assert columns(status(catalogue), "Training", "tiny-math egpo 1")[1].startswith("4/")


def test_a_training_without_times_has_no_pace(catalogue):
    work = train_folder("egpo") / "work"
    work.mkdir(parents=True)
    (work / "metrics.jsonl").write_text(f'{{"step": 1, "{REWARD}": 0.5}}\n')
    assert columns(status(catalogue), "Training", "tiny-math egpo 1")[:3] == ["stopped", "1/28", "0.50"]


def test_a_damaged_file_of_rows_is_named(catalogue):
    Paths("demo").heldout.parent.mkdir(parents=True)
    Paths("demo").heldout.write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"heldout.parquet: is damaged .* Delete it and run again"):
        status(catalogue)


def test_a_training_without_its_process_has_stopped(catalogue):
    """Its process was killed: it could not let go of its lease."""
    folder = train_folder("egpo")
    write_steps(folder / "work", 4)
    script = "import os, pathlib, sys; from egpo.runtime.lease import Lease; Lease(pathlib.Path(sys.argv[1])).take(1)"
    subprocess.run([sys.executable, "-c", script, str(folder / "work")], check=True)
    text = status(catalogue)
    assert columns(text, "Training", "tiny-math egpo 1")[0] == "stopped"
    assert "1 waiting, 1 stopped" in text


def test_a_holder_elsewhere_that_shows_no_life_has_stopped(catalogue):
    folder = train_folder("egpo")
    write_steps(folder / "work", 4)
    file = folder / "work.lease" / "3.json"
    write_json(file, {"host": "gpu7", "pids_of": ["another boot", 1], "pid": 1, "started": 0, "job": "12"})
    assert columns(status(catalogue), "Training", "tiny-math egpo 1")[0] == "running"
    os.utime(file, (time.time() - 600,) * 2)
    assert columns(status(catalogue), "Training", "tiny-math egpo 1")[0] == "stopped"


def test_a_finished_training(catalogue):
    folder, steps = train_folder("egpo"), catalogue.experiment.training.total_training_steps
    write_steps(folder / "work", steps)
    (folder / "work" / "metrics.jsonl").rename(folder / "metrics.jsonl")
    (folder / "manifest.json").touch()
    write_log("train", OWN_END)  # of an earlier attempt, by hand
    text = status(catalogue)
    assert columns(text, "Training", "tiny-math egpo 1") == [
        "done",
        f"{steps}/{steps}",
        f"{-1 + steps / 4:.2f}",
        "20.0",
    ]
    assert "Ended without a result" not in text


def test_a_failure_has_its_job_its_line_and_its_log(catalogue, held):
    write_steps(train_folder("egpo") / "work", 2)
    log = write_log("train", OUT_OF_MEMORY + OWN_END)
    text = status(catalogue)
    assert columns(text, "Training", "tiny-math egpo 1")[0] == "failed"
    ended = text.split("\n\n")[-2].splitlines()
    assert ended[:2] == ["Ended without a result:", "  train_model tiny-math egpo 1"]
    assert ended[2].startswith("    torch.OutOfMemoryError: CUDA out of memory.")
    assert ended[-1] == f"    {log}"
    held(train_folder("egpo") / "work")  # run again: what it will write is not there yet
    assert "Ended without a result" not in status(catalogue)


def test_a_failure_before_any_work_and_of_another_rule(catalogue):
    log = Path("results/demo/logs/data/pool.log")
    log.parent.mkdir(parents=True)
    log.write_text("[10:00:00] data: error: data.quotas: too few rows\n")
    text = status(catalogue)
    assert "  data_pool\n    data.quotas: too few rows\n    results/demo/logs/data/pool.log" in text
    assert columns(text, "Training", "tiny-math egpo 1")[0] == "waiting"


def test_what_slurm_ended_is_told_by_slurms_own_log(catalogue):
    write_steps(train_folder("egpo") / "work", 2)
    log = write_log("train", "[10:00:00] train tiny-math egpo seed 1: resuming after step 2\n")
    slurm = Path(".snakemake/slurm_logs/rule_train_model/tiny-math_egpo_1/7.log")
    slurm.parent.mkdir(parents=True)
    slurm.write_text("slurmstepd: error: *** JOB 7 ON gpu1 CANCELLED AT 2026-07-01T10:00:00 DUE TO TIME LIMIT ***\n")
    text = status(catalogue)
    assert columns(text, "Training", "tiny-math egpo 1")[0] == "failed"
    assert "JOB 7 ON gpu1 CANCELLED AT 2026-07-01T10:00:00 DUE TO TIME LIMIT" in text
    os.utime(slurm, (time.time() - 3600,) * 2)  # the log is of a later attempt, which Slurm did not end
    assert columns(status(catalogue), "Training", "tiny-math egpo 1")[0] == "stopped", log


def test_an_evaluation_under_way_counts_answers_and_trials(catalogue, held):
    experiment, model = catalogue.experiment, catalogue.benchmarks
    work = Path("results/demo/evaluate/tiny-math/egpo/seed-1/work")
    trials = list_trials(
        {},
        catalogue.backbones["tiny-math"],
        dict(model),
        dict.fromkeys(model, work),
        experiment.evaluation,
        work,
        "code",
    )
    whole, under_way = trials[0], trials[-1]
    write_json(whole.work / "finished.json", {"key": whole.key})
    predictions = under_way.work / "evalscope" / "predictions" / "model"
    predictions.mkdir(parents=True)
    for number in (1, 2):
        (predictions / f"x_Level {number}.jsonl").write_text('{"index": 0}\n{"index": 1}\n{"ind')
    held(work)
    write_log("evaluate", "[10:00:00] evaluate m: 3/99 answers, 5 min 00 s left\nx: 9/99 answers, 2 min 00 s left\n")
    asked = sum(trial.benchmark.num_questions for trial in trials)
    state, answers, done, left, age = columns(status(catalogue), "Evaluation", "tiny-math egpo 1")
    assert (state, answers, done) == ("running", f"{whole.benchmark.num_questions + 4}/{asked}", f"1/{len(trials)}")
    assert left == "2 min 00 s" and age.endswith(" s")
    (work.parent / "manifest.json").touch()
    done = ["done", f"{asked}/{asked}", f"{len(trials)}/{len(trials)}"]
    assert columns(status(catalogue), "Evaluation", "tiny-math egpo 1") == done


def test_milestones_are_evaluations_of_their_own(catalogue):
    questions = sum(benchmark.num_questions for benchmark in catalogue.benchmarks.values())
    assert columns(status(catalogue), "Evaluation", "tiny-math egpo 1 step 19")[:2] == ["waiting", f"0/{questions}"]


def test_rollouts_count_shards(catalogue):
    size = catalogue.experiment.uncertainty.problems_per_shard
    problems = [
        {"prompt": [{"content": str(row)}], "reward_model": {"ground_truth": "1"}} for row in range(2 * size + 1)
    ]
    heldout = Path("results/demo/data/heldout.parquet")
    heldout.parent.mkdir(parents=True)
    pq.write_table(pa.table({"row": range(len(problems))}), heldout)
    work = Path("results/demo/uncertainty/tiny-math/egpo/seed-1/work")
    work.mkdir(parents=True)
    made = shards(problems, {}, {}, size, "code", work)
    made[0].file.touch()
    assert len(made) == 3
    assert columns(status(catalogue), "Rollouts", "tiny-math egpo 1")[:2] == ["stopped", "1/3"]


def test_steps_of_epochs_are_verls(catalogue, tmp_path):
    training = catalogue.experiment.training.model_copy(
        update={"total_training_steps": None, "total_epochs": 5, "train_batch_size": 8}
    )
    data = catalogue.experiment.data
    file = tmp_path / "train.parquet"
    assert total_steps(training, data, file) == (data.quotas.total - data.validation_rows) // 8 * 5
    pq.write_table(pa.table({"row": range(39)}), file)
    assert total_steps(training, data, file) == 4 * 5


def test_long_names_and_lines_fit_the_terminal(catalogue):
    name = "a-backbone-of-a-name-that-is-much-too-long"
    experiment = catalogue.experiment.model_copy(update={"backbones": (name,), "methods": ("egpo-answer",)})
    backbones = {name: catalogue.backbones["tiny-math"]}
    long = catalogue.model_copy(update={"experiment": experiment, "backbones": backbones})
    write_steps(Path("results/demo/train") / name / "egpo-answer" / "seed-1" / "work", 3)
    log = Path("results/demo/logs/data/pool.log")
    log.parent.mkdir(parents=True)
    log.write_text(f"[10:00:00] data: error: {'a line that is long ' * 30}\n")
    text = status(long)
    assert "a line that is long" in text
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "-too-long egpo-answer 1 " in text


def test_tables_and_figures_that_failed_are_shown(catalogue):
    logs = Path("results/demo/logs/report")
    logs.mkdir(parents=True)
    for name in ("table1", "table3", "entropy_figures", "report"):
        (logs / f"{name}.log").write_text(f"[10:00:00] x: error: of {name}\n")
    Path("results/demo/tables").mkdir()
    Path("results/demo/tables/table3.md").touch()
    text = status(catalogue)
    assert [line for line in text.splitlines() if line.startswith("    of ")] == [
        "    of entropy_figures",
        "    of report",
        "    of table1",
    ]
    Path("results/demo/figures").mkdir()
    Path("results/demo/figures/entropy_density.png").touch()
    Path("results/demo/report.html").touch()
    assert "    of table1" in status(catalogue) and status(catalogue).count("    of ") == 1


def test_a_figure_that_was_made_has_not_ended(catalogue):
    """Its files are named in the list of entries: they need not have the name of their rule."""
    log = Path("results/demo/logs/report/method_figure.log")
    log.parent.mkdir(parents=True)
    log.write_text("[10:00:00] figure: error: no\n")
    assert "Ended without a result" in status(catalogue)
    Path("results/demo/figures").mkdir()
    Path("results/demo/figures/method.png").touch()
    assert "Ended without a result" not in status(catalogue)


def test_every_rule_has_a_log_of_its_own(catalogue):
    logs = Path("results/demo/logs")
    assert len({stage.log for stage in STAGES.values()}) == len(STAGES)
    for name in ("backbones/tiny-math/warm_up", "backbones/tiny-math/tokenizer", "data/standin"):
        (logs / name).parent.mkdir(parents=True, exist_ok=True)
        (logs / f"{name}.log").write_text("[10:00:00] x: error: no\n")
    text = status(catalogue)
    names = [line.strip() for line in text.splitlines() if re.fullmatch(r"  \w+( tiny-math)?", line)]
    assert names == ["backbone_tokenizer tiny-math", "backbone_warm_up tiny-math", "data_standin"]


def test_the_command_prints_the_page(tmp_path, demo, capsys):
    demo["experiment"] = f"status-{os.getpid()}"
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(demo))
    assert main(["status", str(file)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"results/{demo['experiment']}: no Snakemake is running it\n")
    assert "Trainings: 0 done, 0 running, 2 waiting" in text
    assert not (ROOT / "results" / demo["experiment"]).exists()
