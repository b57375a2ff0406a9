"""The workflow and its faults on a real Slurm, which is started here: `make test-slurm`, by root, on Debian.

The model is a tiny one on CPUs; the GPUs that its training requests of Slurm are made up (see slurm_cluster.py).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
import slurm_cluster
import small_experiment
import yaml
from waiting import LIMIT, until

from egpo.common.files import sha256
from egpo.common.paths import ROOT
from egpo.runtime import lease
from egpo.training.progress import REWARD

pytestmark = pytest.mark.slurm

NAME = "test-slurm"
RESULTS = ROOT / "results" / NAME
TRAINING = RESULTS / "train/minute/egpo/seed-1"
STEPS = 12  # more than a training makes until Slurm has acted
Outcome = tuple[dict[str, object], tuple[str, list[float]]]  # see `undisturbed`
SLURM = [
    *("--profile", "slurm", "--slurm-no-account", "--slurm-init-seconds-before-status-checks", "5"),
    *("--latency-wait", "15", "--set-resources", "train_model:gpu=1", "--jobs", "2"),  # this machine is all nodes
]


@pytest.fixture(scope="module", params=["squeue", "slurmdbd"])
def cluster(request) -> Iterator[slurm_cluster.Cluster]:
    if reason := slurm_cluster.missing(request.param == "slurmdbd"):
        pytest.fail(reason)
    folder = Path(tempfile.mkdtemp(prefix="egpo-slurm-", dir="/tmp"))
    folder.chmod(0o755)  # munge and MariaDB run as other users
    with slurm_cluster.cluster(folder, request.param == "slurmdbd") as made:
        yield made
    shutil.rmtree(folder)


# Of tests in which nothing depends on how the driver asks for a job's state.
ONCE = pytest.mark.parametrize("cluster", ["slurmdbd"], indirect=True, scope="module")


@pytest.fixture(autouse=True)
def every_node_is_idle_again(cluster) -> Iterator[None]:
    yield
    cluster.cancel_all()
    cluster.revive()


@pytest.fixture(scope="module")
def configuration(tmp_path_factory) -> Iterator[str]:
    yield small_experiment.write(NAME, tmp_path_factory.mktemp("configuration") / "small.yaml", steps=STEPS)
    shutil.rmtree(RESULTS, ignore_errors=True)


def on_slurm(configuration: str, target: str, cluster: slurm_cluster.Cluster, *more: str) -> subprocess.Popen:
    command = [] if cluster.accounting else ["--slurm-status-command", "squeue"]
    return small_experiment.start(target, configuration, *SLURM, *command, *more)


def finish(run: subprocess.Popen) -> str:
    text = run.communicate(timeout=2 * LIMIT)[0]
    assert run.returncode == 0, text
    return text


def steps_done() -> int:
    file = TRAINING / "work" / "metrics.jsonl"
    return max((json.loads(line)["step"] for line in file.read_text().splitlines()), default=0) if file.exists() else 0


def wait_for_step(step: int, run: subprocess.Popen) -> None:
    until(f"step {step}", lambda: steps_done() >= step or run.poll() is not None)
    assert run.poll() is None, run.stdout.read()


def outcome() -> dict[str, object]:
    """Tables and the scores of all answers, which must not depend on where and how often jobs ran."""
    tables = {path.name: path.read_text() for path in sorted((RESULTS / "tables").glob("*.csv"))}
    del tables["measured.csv"]  # seconds and memory
    records = {
        str(path.relative_to(RESULTS)): pd.read_parquet(path).drop(columns=["seconds"], errors="ignore")
        for path in sorted(RESULTS.glob("evaluate/**/records.parquet"))
        if "work" not in path.parts
    }
    return {"tables": tables, "records": {name: frame.to_csv() for name, frame in records.items()}}


def trained() -> tuple[str, list[float]]:
    """The model of the training, bit for bit, and its rewards by step."""
    metrics = pd.read_json(TRAINING / "metrics.jsonl", lines=True).set_index("step").loc[1:]
    return sha256(TRAINING / "model/model.safetensors"), metrics[REWARD].to_list()


@pytest.fixture(scope="module")
def undisturbed(configuration) -> Outcome:
    """The outcome of a local run from an empty folder, and what it trained."""
    shutil.rmtree(RESULTS, ignore_errors=True)
    finish(small_experiment.start("all", configuration, "--cores", "2"))
    return outcome(), trained()


def job() -> str:
    """Slurm's id of the job that trains."""
    return lease.holder(TRAINING / "work")["job"]


def state(number: str) -> str:
    return slurm_cluster.run("squeue", "-h", "-j", number, "-o", "%T").strip()


def test_from_an_empty_folder_to_the_report(configuration, undisturbed, cluster):
    shutil.rmtree(RESULTS)
    finish(on_slurm(configuration, "all", cluster))
    assert (RESULTS / "report.html").exists()
    assert (outcome(), trained()) == undisturbed


# --- faults of a training, after which its model must be the undisturbed one's, bit for bit -------------------------


def kill_the_training(cluster: slurm_cluster.Cluster) -> None:
    mine = ["-m", "egpo.verl_plugin.driver", str((TRAINING / "work").relative_to(ROOT))]
    (trainer,) = (
        process
        for process in psutil.process_iter(["cmdline"])
        if (found := process.info["cmdline"] or [])[1:3] == mine[:2] and found[3].startswith(mine[2])
    )
    trainer.kill()


def cancel_the_job(cluster: slurm_cluster.Cluster) -> None:
    """As at a time limit or a preemption: SIGTERM to every process, SIGKILL after KillWait."""
    slurm_cluster.run("scancel", "--signal=TERM", "--full", job())


def lose_the_node(cluster: slurm_cluster.Cluster) -> None:
    number = job()
    cluster.lose(slurm_cluster.run("squeue", "-h", "-j", number, "-o", "%N").strip(), number)
    cluster.begin_now(number)


def scancel(cluster: slurm_cluster.Cluster) -> None:
    """By a user: sacct then says `CANCELLED by <uid>`."""
    slurm_cluster.run("scancel", job())


def lose_accounting(cluster: slurm_cluster.Cluster) -> None:
    """slurmdbd is away for as long as the driver asks several times."""
    cluster.end("slurmdbd")
    until("a failing sacct", lambda: subprocess.run(["sacct"], capture_output=True).returncode != 0)
    time.sleep(60)  # not for an event: this is how long it is away
    cluster.start_accounting()


FAULTS: dict[str, Callable[[slurm_cluster.Cluster], None]] = {
    "training killed": kill_the_training,
    "node down": lose_the_node,
    "scancel": scancel,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_loses_at_most_a_save_interval(configuration, undisturbed, cluster, fault):
    check_fault(configuration, undisturbed, cluster, FAULTS[fault])


@ONCE
def test_a_sigterm_loses_at_most_a_save_interval(configuration, undisturbed, cluster):
    check_fault(configuration, undisturbed, cluster, cancel_the_job)


def check_fault(
    configuration: str,
    undisturbed: Outcome,
    cluster: slurm_cluster.Cluster,
    fault: Callable[[slurm_cluster.Cluster], None],
) -> None:
    """A training that meets a fault after step 2 is that of an undisturbed run in the end."""
    shutil.rmtree(RESULTS / "train")
    run = on_slurm(configuration, "train", cluster)
    wait_for_step(2, run)
    done = steps_done()
    fault(cluster)
    finish(run)
    assert_resumed(done)
    assert trained() == undisturbed[1]


def assert_resumed(done: int) -> None:
    text = (RESULTS / "logs/train/minute/egpo/seed-1.log").read_text()
    found = re.search(r"resuming after step (\d+)", text)
    assert found, text
    assert done <= int(found[1]) < STEPS


@ONCE
def test_without_slurmdbd_for_a_minute_the_run_goes_on(configuration, undisturbed, cluster):
    shutil.rmtree(RESULTS / "train")
    run = on_slurm(configuration, "train", cluster)
    wait_for_step(1, run)
    lose_accounting(cluster)
    finish(run)
    assert trained() == undisturbed[1]


@pytest.mark.parametrize("mode", ["requeue", "cancel"])
def test_a_preempted_job_runs_again(configuration, undisturbed, cluster, mode):
    """By Slurm itself, or submitted again by Snakemake where Slurm has cancelled it."""
    shutil.rmtree(RESULTS / "train")
    run = on_slurm(configuration, "train", cluster, "--default-resources", f"slurm_partition={mode}")
    wait_for_step(2, run)
    done, number = steps_done(), job()
    node = slurm_cluster.run("squeue", "-h", "-j", number, "-o", "%N").strip()
    slurm_cluster.run("sbatch", "-p", "urgent", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 5")
    if mode == "requeue":
        cluster.begin_now(number)
    text = finish(run)
    assert_resumed(done)
    assert "SLURM status is: 'CANCELLED'" in text if mode == "cancel" else number in text
    assert trained() == undisturbed[1]


@ONCE
def test_submissions_are_tried_again(configuration, undisturbed, cluster, tmp_path, monkeypatch):
    """Before Slurm's own sbatch stands one that fails twice for every job, as a busy slurmctld does."""
    shutil.rmtree(RESULTS / "train")
    real, failures = shutil.which("sbatch"), tmp_path / "failures"
    (tmp_path / "sbatch").write_text(
        f"""#!/bin/sh
echo >> {failures}
test $(($(wc -l < {failures}) % 3)) = 0 && exec {real} "$@"
echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
exit 1
"""
    )
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    finish(on_slurm(configuration, "train", cluster, "--retries", "0"))
    assert len(failures.read_text().splitlines()) >= 3
    assert trained() == undisturbed[1]


EACH_A_GPU = """
import os, sys, threading
from pathlib import Path
from egpo.runtime import gpus
with gpus.reserve_gpus(1, print):
    print(os.environ[gpus.DEVICES], flush=True)
    sys.stdin.readline()
"""


@ONCE
def test_jobs_inside_an_allocation_have_a_gpu_each(cluster):
    """Four jobs at once in `salloc --gpus=4`, as `--profile workstation` starts them there."""
    script = (
        "import subprocess, sys\n"
        f"jobs = [subprocess.Popen([sys.executable, '-c', {EACH_A_GPU!r}], stdin=-1, stdout=-1, text=True)"
        " for _ in range(4)]\n"
        "print(sorted(job.stdout.readline().strip() for job in jobs))\n"
        "[job.communicate('\\n') for job in jobs]"
    )
    said = slurm_cluster.run("salloc", "--nodes=1", "--gpus=4", "srun", "--gpus=4", sys.executable, "-c", script)
    assert said.strip().splitlines()[-1] == "['0', '1', '2', '3']"


@ONCE
def test_a_killed_driver_is_replaced_while_its_job_runs(configuration, undisturbed, cluster):
    shutil.rmtree(RESULTS / "train")
    first = on_slurm(configuration, "train", cluster)
    wait_for_step(1, first)
    first.kill()
    first.wait()
    assert state(job()) == "RUNNING", "the job goes on without its driver"
    second = on_slurm(configuration, "train", cluster)
    finish(second)
    text = (RESULTS / "logs/train/minute/egpo/seed-1.log").read_text()
    assert f"{STEPS} steps done" in text
    assert trained() == undisturbed[1]


def rays() -> list[int]:
    """Processes of Ray in jobs of this Slurm."""
    return [
        process.pid
        for process in psutil.process_iter(["name", "environ"])
        if process.info["name"] in ("raylet", "gcs_server") and "SLURM_JOB_ID" in (process.info["environ"] or {})
    ]


@ONCE
def test_a_training_on_two_nodes_has_a_ray_on_both(cluster, tmp_path):
    """A job on both nodes, with Ray's worker on the second one; cancelled, it leaves no process."""
    name = f"{NAME}-two-nodes"
    file = Path(small_experiment.write(name, tmp_path / "two.yaml"))
    values = yaml.safe_load(file.read_text())
    values["training"] |= {"platform": "cuda", "nodes": 2, "gpus_per_node": 4}
    file.write_text(yaml.safe_dump(values))
    results = ROOT / "results" / name
    shutil.rmtree(results, ignore_errors=True)
    run = on_slurm(str(file), "train", cluster, "--retries", "0", "--set-resources", "train_model:gpu=8")
    log = results / "logs/train/minute/egpo/seed-1.log"
    spans = re.compile(r"Ray spans 2 nodes \(.+\), 4 GPUs each")
    until("Ray", lambda: run.poll() is not None or (log.exists() and spans.search(log.read_text())))
    assert run.poll() is None, run.stdout.read()
    steps = dict(line.split() for line in slurm_cluster.run("squeue", "-h", "-s", "-o", "%i %N").splitlines())
    number = lease.holder(results / "train/minute/egpo/seed-1/work")["job"]
    assert steps == {f"{number}.batch": "gpu1", f"{number}.0": "gpu2"}
    slurm_cluster.run("scancel", number)
    assert run.wait(LIMIT) != 0
    until("the end of Ray", lambda: not rays())
    shutil.rmtree(results)


@ONCE
def test_a_second_driver_is_refused(configuration, undisturbed, cluster):
    shutil.rmtree(RESULTS / "train")
    first = on_slurm(configuration, "train", cluster)
    wait_for_step(1, first)
    second = on_slurm(configuration, "train", cluster)
    text = second.communicate(timeout=LIMIT)[0]
    assert second.returncode != 0 and f"process {first.pid} on" in text and "runs this experiment already" in text
    assert state(job()) == "RUNNING"
    finish(first)
    assert trained() == undisturbed[1]
