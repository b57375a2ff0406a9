"""The console script `egpo`, and the names and keys that are refused before a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_experiment import SNAKEMAKE

from egpo.cli import main as cli
from egpo.cli.check import load_checked
from egpo.cli.doctor import examination
from egpo.cli.doctor.finding import failed, ok
from egpo.cli.main import COMMANDS, main
from egpo.common.errors import UserError
from egpo.common.paths import ROOT

DEMO = str(ROOT / "config" / "demo.yaml")


def write(folder: Path, values: dict) -> str:
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(values))
    return str(file)


# --- the command line --------------------------------------------------------------------------------


def test_a_correct_configuration_is_said_to_be_one(capsys):
    assert main(["check", DEMO]) == 0
    assert capsys.readouterr().out == f"{DEMO}: no mistakes found.\n"


def test_without_a_file_the_demo_is_meant_from_any_folder(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["check"]) == 0
    assert capsys.readouterr().out == "config/demo.yaml: no mistakes found.\n"
    assert Path.cwd() == tmp_path


def test_a_file_is_looked_for_in_the_current_folder(capsys, tmp_path, monkeypatch, demo):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, demo)
    assert main(["check", "mine.yaml"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/mine.yaml: no mistakes found.\n"


@pytest.mark.parametrize("command", ["check", "plan", "status", "doctor"])
def test_a_mistake_is_a_message_on_standard_error(command, capsys, tmp_path, demo):
    file = write(tmp_path, demo | {"trainng": {}})
    assert main([command, file]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{file}: trainng: there is no such key. Did you mean 'training'?")


def test_files_and_keys_are_laid_over_each_other(capsys, tmp_path):
    over = write(tmp_path, {"methods": ["egpo"], "training": {"train_batch_size": 64}})
    assert main(["check", DEMO, over, "--config", "main_method=grpo", "training={platform: cuda}"]) == 1
    source = f"{DEMO} + {over} + --config"
    assert f"{source}: main_method: 'grpo' is not one of this experiment's methods" in capsys.readouterr().err


def test_values_of_the_command_line_are_yaml(monkeypatch):
    requests = []
    monkeypatch.setitem(COMMANDS, "check", requests.append)
    main(["check", "--config", "training_seeds=[1, 2]", "note=a=b", "uncertainty="])
    assert requests[0].given == {"training_seeds": [1, 2], "note": "a=b", "uncertainty": None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pln"], "invalid choice: 'pln'"),
        ([], "required: COMMAND"),
        (["check", "--config", "methods"], "'methods' is not key=value"),
        (["check", "--config", "methods=[egpo"], "'methods=[egpo': not valid YAML: line 1"),
        (["check", "--config", "note=2026-13-45"], "Put it into quotes"),
        (["check", "--config", "training={save_freq: 1, save_freq: 2}"], "the key 'save_freq' appears twice"),
        (["check", "--config", "training.platform=cpu"], "of a section write 'training={platform: cpu}'"),
        (["study", "--out", "rows.csv", "--power", "0"], "a gain of 0 points is none"),
        (["study", "--out", "rows.csv", "--power", "3", "--page", "page.md"], "not allowed with argument"),
        (["study", "--out", "rows.csv", "--at-once", "0"], "'0' is not a whole number above 0"),
        (["study", "--out", "rows.csv", "--seeds", "1.5"], "'1.5' is not a whole number above 0"),
        (["plan", "--slurm"], "unrecognized arguments: --slurm"),
    ],
)
def test_a_command_line_that_is_wrong(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err


def test_help_explains_each_command_in_a_sentence(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} {command.__doc__}" in text for name, command in COMMANDS.items())


def test_a_process_ends_with_the_code_of_its_command(tmp_path, demo):
    """One real run; installed, the console script calls the same function."""
    command = [sys.executable, "-m", "egpo.cli.main", "check", write(tmp_path, demo | {"methods": ["egpoo"]})]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (1, "")
    assert "methods: 'egpoo' is not an entry" in run.stderr and "Traceback" not in run.stderr


CHECK = f"{sys.executable} -m egpo.cli.main check"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (f"({CHECK}; echo $? >code) | true; exit $(cat code)", 141, ""),
        (f"{CHECK} >/dev/full", 1, "output: No space left on device. Correct this path"),
        (f"{CHECK} <&- >&-", 0, ""),
        (f"{CHECK} nowhere.yaml 2>&-", 1, ""),
        (f"LC_ALL=C PYTHONUTF8=0 {CHECK}", 1, "run `export PYTHONUTF8=1`"),
    ],
)
def test_output_that_nobody_reads_and_shells_of_other_kinds(command, code, said, tmp_path):
    run = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == code and said in run.stderr and run.stdout == ""
    assert "Traceback" not in run.stderr and "Exception ignored" not in run.stderr


def test_a_closed_stream_is_no_file_of_the_command(tmp_path):
    """The first file that a process opens would be its standard output, and get all that is printed."""
    code = "import egpo.cli.main as m; m._open_streams(); f = open('f', 'w'); print('x', flush=True); print(f.fileno())"
    subprocess.run(["bash", "-c", f'{sys.executable} -c "{code}" >&-'], cwd=tmp_path, check=True)
    assert (tmp_path / "f").read_text() == ""


@pytest.mark.parametrize("broken", [KeyboardInterrupt, OSError(13, "Permission denied", "results/x")])
def test_an_interrupt_and_a_refusal_of_the_system_are_a_line(broken, monkeypatch, capsys):
    def command(_):
        raise broken

    monkeypatch.setitem(COMMANDS, "check", command)
    code, said = (130, "interrupted") if broken is KeyboardInterrupt else (1, "results/x: Permission denied. Correct")
    assert main(["check"]) == code
    assert capsys.readouterr().err.startswith(said)


def test_a_file_in_the_place_of_a_folder_is_named(capsys, tmp_path):
    (tmp_path / "file").touch()
    assert main(["freeze", DEMO, "--out", str(tmp_path / "file" / "claims.yaml")]) == 1
    assert (
        capsys.readouterr().err
        == f"{tmp_path}/file: File exists. Correct this path or its permissions, or make room.\n"
    )


def test_the_doctor_fails_with_a_finding_and_keeps_its_page_clean(monkeypatch, capfd, tmp_path, demo):
    def noisy():
        os.write(1, b"of this process\n")
        subprocess.run(["sh", "-c", "echo of a child; echo of its errors >&2"], check=True)
        return failed("disk", "full", "Make room")

    monkeypatch.setattr(examination, "all_checks", lambda *_: iter([("cores", lambda: ok("cores", "2"))]))
    monkeypatch.setattr(cli, "ROOT", tmp_path)  # where results/ is
    file = write(tmp_path, demo)
    assert main(["doctor", file]) == 0
    log = "results/demo/logs/doctor.log"
    assert capfd.readouterr().out == f"ok       cores: 2\n1 ok, 0 warnings, 0 failed\nLog: {log}\n"
    monkeypatch.setattr(examination, "all_checks", lambda *_: iter([("disk", noisy)]))
    assert main(["doctor", file]) == 1
    out, err = capfd.readouterr()
    assert (out, err) == (f"FAILED   disk: full. Make room\n0 ok, 0 warnings, 1 failed\nLog: {log}\n", "")
    assert (tmp_path / log).read_text() == "of this process\nof a child\nof its errors\n"


def test_a_doctor_that_cannot_write_its_log_in_results_writes_it_below_tmp(monkeypatch, capfd, tmp_path, demo):
    monkeypatch.setattr(examination, "all_checks", lambda *_: iter([]))
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    (tmp_path / "results").write_text("a file")
    assert main(["doctor", write(tmp_path, demo)]) == 0
    log = capfd.readouterr().out.splitlines()[-1].removeprefix("Log: ")
    assert Path(log).name.startswith("egpo-doctor-")
    os.unlink(log)  # noqa: PTH108


# --- names and keys ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["all", "train"])
def test_a_method_of_a_targets_name_is_refused(name, tmp_path, demo):
    """`all` too, which is the first of the targets and so must be known where the methods become targets."""
    file = write(tmp_path, demo | {"define": {"methods": {name: {"label": "Mine"}}}})
    run = subprocess.run(
        [SNAKEMAKE, "-n", "--configfile", file], cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert run.returncode != 0
    assert f"define.methods.{name}: has the name of a target of the workflow" in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("overlay", "where", "allowed"),
    [
        (
            {"evaluation": {"seeds": [1, 2]}},
            "evaluation.seeds",
            "gpus, tensor_parallel_size, max_num_seqs, kv_cache_gib",
        ),
        ({"training": {"train_batch_size": 64}}, "training.train_batch_size", "nodes, gpus_per_node"),
        ({"data": {"seed": 1}}, "data", "training, evaluation, jobs"),
    ],
)
def test_a_backbones_overlay_holds_its_machine_alone(overlay, where, allowed, demo):
    with pytest.raises(UserError) as refused:
        load_checked(demo | {"by_backbone": {"tiny-math": overlay}}, "mine.yaml")
    assert f"mine.yaml: by_backbone.tiny-math.{where}: there is no such key" in str(refused.value)
    assert allowed in str(refused.value)
