"""slurm/bin: what a driver's plug-in is told when Slurm's commands fail. The commands below it are stand-ins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import LIMIT

from egpo.common.paths import ROOT
from egpo.runtime import slurm_commands as commands

RUN = "5b8e9f3c-run"
SACCT = ["-X", "--parsable2", "--noheader", "--format=JobIdRaw,State", "--name", RUN]
SQUEUE = ["--format=%i|%T", "--states=all", "--noheader", "--name", RUN]
SBATCH = ["--parsable", "--job-name", RUN, "--comment", "rule_train_model_wildcards_a", "--wrap", "exit 0"]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch):
    """Puts a shell script under a command's name first in PATH; it notes its arguments in <name>.calls."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def put(name: str, script: str) -> Path:
        file, calls = tmp_path / name, tmp_path / f"{name}.calls"
        file.write_text(f'#!/bin/sh\necho "$@" >> {calls}\ncalls=$(wc -l < {calls})\n{script}\n')
        file.chmod(0o755)
        calls.touch()
        return calls

    return put


AWAY = "echo 'sacct: error: slurm_persist_conn_open: failed to connect' >&2; exit 1"


@pytest.mark.parametrize(
    "said, told",
    [
        ("7|CANCELLED by 1000", "7|CANCELLED\n"),
        ("7|CANCELLED+", "7|CANCELLED\n"),
        ("7|REVOKED", "7|FAILED\n"),
        ("7|OUT_OF_MEMORY\n8|RUNNING", "7|OUT_OF_MEMORY\n8|RUNNING\n"),
        ("Welcome to the cluster!\n\n7|COMPLETED\nnews | at noon", "7|COMPLETED\n"),
        ("7_1|TIMEOUT\n7_[2-4]|PENDING", "7_1|TIMEOUT\n7_[2-4]|PENDING\n"),
        ("", ""),
    ],
)
def test_states_in_the_words_of_the_plug_in(stand_in, said, told):
    stand_in("sacct", f"cat <<'END'\n{said}\nEND")
    assert commands.states("sacct", SACCT)[:2] == (0, told)


def test_where_sacct_is_away_squeue_is_asked(stand_in):
    stand_in("sacct", AWAY)
    calls = stand_in("squeue", "echo '7|RUNNING'; echo '8|COMPLETED'")
    status, out, error = commands.states("sacct", SACCT)
    assert (status, out) == (0, "7|RUNNING\n8|COMPLETED\n") and "failed to connect" in error
    assert f"--name {RUN}" in calls.read_text()


def test_where_nobody_answers_no_job_is_forgotten(stand_in):
    for name in ("sacct", "squeue"):
        stand_in(name, AWAY)
    assert commands.states("sacct", SACCT)[:2] == commands.states("squeue", SQUEUE)[:2] == (0, "")


def test_a_command_that_hangs_is_not_waited_for(stand_in, monkeypatch):
    monkeypatch.setattr(commands, "QUERY_SECONDS", 0.5)
    stand_in("sacct", "sleep 60")
    stand_in("squeue", "echo '7|RUNNING'")
    status, out, error = commands.states("sacct", SACCT)
    assert (status, out) == (0, "7|RUNNING\n") and "no answer" in error


@pytest.mark.parametrize(
    "queue, told",
    [
        ("echo '7|PENDING'", "PENDING"),  # PreemptMode=REQUEUE
        ("echo '7|PREEMPTED'", "CANCELLED"),  # PreemptMode=CANCEL, before MinJobAge
        ("true", "CANCELLED"),  # and after it
        (AWAY, "PREEMPTED"),  # unknown: asked again at the next query
    ],
)
def test_a_preempted_job_runs_again_or_has_ended(stand_in, queue, told):
    stand_in("sacct", "echo '7|PREEMPTED'; echo '8|RUNNING'")
    stand_in("squeue", queue)
    assert commands.states("sacct", SACCT)[1] == f"7|{told}\n8|RUNNING\n"


@pytest.mark.parametrize(
    "queue, told",
    [
        ("echo '7|PENDING'", "PENDING"),  # JobRequeue=1, Slurm's default
        ("echo '7|NODE_FAIL'", "NODE_FAIL"),
        ("true", "NODE_FAIL"),
        (AWAY, "NODE_FAIL"),
    ],
)
def test_a_job_of_a_lost_node_runs_again_or_has_ended(stand_in, queue, told):
    stand_in("sacct", "echo '7|NODE_FAIL'; echo '8|RUNNING'")
    stand_in("squeue", queue)
    assert commands.states("sacct", SACCT)[1] == f"7|{told}\n8|RUNNING\n"


def test_no_node_is_named_none_assigned(stand_in, capsys):
    stand_in("sacct", "echo '  None assigned   '")
    assert commands.main("sacct", ["-j", "7", "-n", "-X", "-o", "nodelist%-256"]) == 0
    assert not capsys.readouterr().out.strip()


def test_a_preempted_job_in_the_queues_own_words(stand_in):
    stand_in("squeue", "echo '7|PREEMPTED'; echo '8|RUNNING'")
    assert commands.states("squeue", SQUEUE)[1] == "7|CANCELLED\n8|RUNNING\n"


# --- submissions -----------------------------------------------------------------------------------


def test_a_submission_is_tried_again_while_slurm_is_busy(stand_in):
    fails = "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1"
    calls = stand_in("sbatch", f"test $calls -gt 4 || {{ {fails}; }}\necho 77")
    stand_in("squeue", "true")
    pauses: list[float] = []
    assert commands.submit(SBATCH, None, pauses.append) == (0, "77\n", "")
    assert len(calls.read_text().splitlines()) == 5
    assert [round(pause / base) for pause, base in zip(pauses, (5, 10, 20, 40), strict=True)] == [1, 1, 1, 1]


def test_a_lost_answer_is_not_submitted_twice(stand_in):
    calls = stand_in("sbatch", "echo 'sbatch: error: Unable to contact slurm controller' >&2; exit 1")
    stand_in("squeue", f"echo '76|rule_other'; echo '77|{SBATCH[4]}'")
    assert commands.submit(SBATCH, None, lambda _: None) == (0, "77\n", "")
    assert len(calls.read_text().splitlines()) == 1


def test_what_a_user_must_correct_is_said_at_once(stand_in):
    calls = stand_in("sbatch", "echo 'sbatch: error: invalid partition specified: gpus' >&2; exit 1")
    status, _, error = commands.submit(SBATCH, None, lambda _: pytest.fail("waited"))
    assert status == 1 and "invalid partition" in error and len(calls.read_text().splitlines()) == 1


def test_in_the_end_it_gives_up(stand_in):
    stand_in("sbatch", "echo 'sbatch: error: Unable to contact slurm controller' >&2; exit 1")
    stand_in("squeue", AWAY)
    pauses: list[float] = []
    status, _, error = commands.submit(SBATCH, None, pauses.append)
    assert status == 1 and "tried for" in error and sum(pauses) > commands.ENOUGH / 2


# --- as commands -----------------------------------------------------------------------------------


def run(name: str, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PATH": commands.first_in(os.environ["PATH"]), "EGPO_PYTHON": sys.executable}
    return subprocess.run(
        [name, *arguments], env=environment, input=given, capture_output=True, text=True, timeout=LIMIT
    )


def test_the_commands_stand_before_slurms_own_and_call_them(stand_in):
    stand_in("sacct", "echo '7|CANCELLED by 0'")
    assert run("sacct", *SACCT).stdout == "7|CANCELLED\n"
    stand_in("squeue", "echo '1 4'; echo lost >&2; exit 3")
    other = run("squeue", "--noheader", "--jobs", "7", "--format", "%D %C")  # no query of states: as it is
    assert (other.returncode, other.stdout, other.stderr) == (3, "1 4\n", "lost\n")
    stand_in("sbatch", "cat; echo 78")
    assert run("sbatch", *SBATCH, given="#!/bin/sh\n").stdout == "#!/bin/sh\n78\n"


def test_a_machine_without_slurm_says_so(monkeypatch, tmp_path):
    if any((Path(folder) / "sbatch").exists() for folder in os.get_exec_path()):
        pytest.skip("this machine has a Slurm")
    done = run("sbatch", *SBATCH, given="")
    assert done.returncode == 127 and "sbatch: command not found" in done.stderr


def test_their_folder_is_first_once():
    path = commands.first_in(commands.first_in("/usr/bin:/bin"))
    assert path == f"{ROOT / 'slurm' / 'bin'}:/usr/bin:/bin"


def test_snakemakes_plug_in_asks_as_these_expect():
    """The words of the plug-in's queries and submissions that the commands read."""
    pytest.importorskip("snakemake_executor_plugin_slurm")
    import shlex

    from snakemake_executor_plugin_slurm import job_status_query as query
    from snakemake_executor_plugin_slurm import submit_string

    for made in (query.query_job_status_sacct(RUN), query.query_job_status_squeue(RUN)):
        assert commands.value_of("--name", shlex.split(made)) == RUN
    source = Path(submit_string.__file__).read_text()
    assert (
        "--job-name {safe_quote(params.run_uuid)}" in source and "--comment {safe_quote(params.comment_str)}" in source
    )
