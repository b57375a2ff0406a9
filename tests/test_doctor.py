"""The doctor: what each check makes of what it finds, and the checks that this machine can really be given."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
from importlib.util import spec_from_file_location
from pathlib import Path

import pytest
from small_runs import CATALOGUES, make_inputs

from egpo.cli.doctor import gpus, inputs, machine, models, software
from egpo.cli.doctor import slurm as cluster
from egpo.cli.doctor.engines import tiny_model, verl_accepts, vllm_answers
from egpo.cli.doctor.examination import all_checks, examine, on_a_node
from egpo.cli.doctor.finding import Finding, answer, ok, warning
from egpo.cli.doctor.gpus import Gpu
from egpo.cli.doctor.needs import Need, needs_cuda, needs_of
from egpo.cli.doctor.slurm import Partition
from egpo.common.paths import Paths
from egpo.config.backbones import LocalModel
from egpo.config.benchmarks import Benchmark, Judge
from egpo.config.data import LocalSource, ProblemsSource
from egpo.synthetic.standin import make_source

DEMO, PAPER = CATALOGUES["demo"], CATALOGUES["paper"]
NEED = Need("train_model", "jobs.train", 2855, cpus=16, memory_gib=200, gpus=8, gpus_key="training.gpus_per_node")


# --- lines -----------------------------------------------------------------------------------------


def test_a_finding_is_one_line_with_its_remedy():
    assert ok("cores", "8").line() == "ok       cores: 8"
    assert warning("cores", "two\nlines", "Use more").line() == "warning  cores: two lines. Use more"


def test_every_check_is_shown_and_one_that_breaks_does_not_stop_the_others():
    lines: list[str] = []
    checks = [
        ("first", lambda: 1 / 0),
        ("second", lambda: [ok("a", "b"), warning("c", "d", "e")]),
        ("third", lambda: ok("f", "g")),
    ]
    assert examine(iter(checks), lines.append) is False
    assert lines[0].startswith("FAILED   first: the check broke (ZeroDivisionError")
    assert lines[1:] == ["ok       a: b", "warning  c: d. e", "ok       f: g", "2 ok, 1 warnings, 1 failed"]
    assert examine(iter(checks[1:]), lines.append) is True, "a warning is no failure"


def test_a_command_that_fails_hangs_or_is_not_there_is_told_apart():
    assert answer("sh", "-c", "echo text") == (True, "text\n")
    assert answer("sh", "-c", "echo first >&2; echo last >&2; exit 1") == (False, "last")
    assert answer("sleep", "5", seconds=0.1) == (False, "sleep does not answer in 0 s")
    assert answer("no-such-command")[0] is False


# --- packages, compiler, memory, folders -----------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "rows", "file", "state", "words"),
    [
        ((3, 11), [], "envs/cpu.txt", "ok", "all as pinned"),
        ((3, 11), ["flash-attn is not in the list"], "envs/gpu.txt", "ok", "all as pinned"),
        ((3, 12), [], "envs/cpu.txt", "ok", "Python 3.12, all as pinned"),
        ((3, 13), [], "envs/cpu.txt", "FAILED", "Python 3.13, not 3.11 or 3.12. Run `make env`"),
        ((3, 11), ["torch is 2.0, not 2.11.0"], "envs/gpu.txt", "FAILED", "--list envs/gpu.txt --venv .venv-gpu"),
        ((3, 11), [f"p{i} is missing" for i in range(9)], "envs/cpu.txt", "FAILED", "p2 is missing; and 6 more"),
    ],
)
def test_packages(version, rows, file, state, words):
    finding = software.assess_packages(version, ((3, 11), (3, 12)), rows, file)
    assert finding.state == state and words in finding.line()


def test_packages_of_this_environment_are_those_of_the_cpu_list_and_not_of_the_gpu_list():
    assert software.packages(cuda=False).state == "ok"
    assert software.packages(cuda=True).state == "FAILED"


def test_packages_that_are_compiled_by_every_process_are_found(monkeypatch, tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    spec = spec_from_file_location("torch", tmp_path / "torch" / "__init__.py")
    monkeypatch.setattr(software, "find_spec", lambda _: spec)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    assert software.bytecode().found == "the first start compiles the packages"
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    line = software.bytecode().line()
    assert (
        line.startswith("warning  bytecode: PYTHONDONTWRITEBYTECODE is set")
        and f"compileall -q -j 0 {tmp_path}" in line
    )
    compileall.compile_dir(tmp_path, quiet=1)
    assert software.bytecode().state == "ok"


def test_the_compiler_is_really_called(monkeypatch, tmp_path):
    assert software.compiler(cuda=False).state == "ok"
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho no header >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    assert "cannot compile: no header" in software.compiler(cuda=False).line()
    monkeypatch.setenv("CC", "no-such-compiler")
    assert software.compiler(cuda=False).line().startswith("FAILED   C compiler: no no-such-compiler. Install one")


def test_needs_are_the_largest_of_all_backbones():
    data, train, evaluate, rollouts = needs_of(PAPER)
    jobs = PAPER.experiment.jobs
    assert (train.rule, train.gpus, train.cpus) == ("train_model", 8, jobs.train.cpus)
    assert train.minutes > jobs.train.minutes + jobs.train.grace_minutes
    assert (evaluate.gpus, rollouts.gpus, data.gpus) == (1, 1, 0)
    assert (evaluate.key, rollouts.key, data.key) == ("jobs.evaluate", "jobs.evaluate", "jobs.data")
    over = {"deepseek-r1-7b": {"training": {"nodes": 2, "gpus_per_node": 16}, "jobs": {"train": {"memory_gib": 900}}}}
    experiment = PAPER.experiment.model_validate({**PAPER.experiment.model_dump(), "by_backbone": over})
    larger = needs_of(PAPER.model_copy(update={"experiment": experiment}))[1]
    assert (larger.gpus, larger.memory_gib, larger.minutes) == (16, 900, train.minutes)
    assert needs_cuda(PAPER) and not needs_cuda(DEMO)


def test_cores_and_memory_name_the_key():
    few, small = machine.assess_capacity(4, 32.0, [NEED])
    assert few.state == small.state == "warning"
    assert "jobs.train.cpus" in few.remedy and "jobs.train.memory_gib" in small.remedy
    assert [found.state for found in machine.assess_capacity(16, 199.0, [NEED])] == ["ok", "ok"]


def test_the_memory_of_a_container_counts():
    assert 0 < machine.memory_gib() <= machine.psutil.virtual_memory().total / 2**30


def test_shared_memory_of_a_container_is_too_little():
    assert machine.assess_shared_memory(0.0625, 1.0).state == "FAILED"
    assert "--shm-size" in machine.assess_shared_memory(0.0625, 1.0).remedy
    assert machine.assess_shared_memory(1.0, 1.0).state == "ok"


def test_disk_that_the_largest_training_needs():
    """Three checkpoints of 16 bytes for each of 7,615,616,512 parameters."""
    assert machine.least_disk(PAPER) == pytest.approx(3 * 16 * 7_615_616_512 / 2**30)
    assert machine.least_disk(DEMO) == 5


def test_results_folder(tmp_path):
    found = machine.results(tmp_path / "results", 0.001)
    assert found.state == "ok" and list((tmp_path / "results").iterdir()) == []
    (tmp_path / "file").write_text("")
    assert machine.results(tmp_path / "file" / "results", 0.001).state == "FAILED"
    assert machine.assess_results(free=10, wanted=340, ahead=0).state == "FAILED"
    assert "NTP" in machine.assess_results(free=400, wanted=340, ahead=-90).remedy
    assert "-90 s" in machine.assess_results(free=400, wanted=340, ahead=-90).found


# --- GPUs ------------------------------------------------------------------------------------------

EIGHT = "NVIDIA H100 80GB HBM3, 81559, 550.54.15\n" * 8


def test_gpus_are_read_from_nvidia_smi():
    assert gpus.parse_gpus(EIGHT) == [Gpu("NVIDIA H100 80GB HBM3", 81559 / 1024, "550.54.15")] * 8
    assert gpus.parse_gpus("No devices were found\n") == []


def test_gpus_against_the_configuration():
    eight, needs = gpus.parse_gpus(EIGHT), needs_of(PAPER)
    assert gpus.assess_gpus(eight, needs, 80).state == "ok", "80 GB are 79.6 GiB"
    assert gpus.assess_gpus([], needs, 80).state == "FAILED"
    few = gpus.assess_gpus(eight[:4], needs, 80)
    assert few.state == "FAILED" and "Set training.gpus_per_node to 4" in few.remedy
    small = gpus.assess_gpus([Gpu("A100", 40.0, "550")] * 8, needs, 80)
    assert (small.state, "Set it to 40" in small.remedy) == ("warning", True)


def test_what_torch_says_of_the_gpus():
    assert [found.state for found in gpus.assess_torch(True, "some noise\n13.0 8\n")] == ["ok"]
    none, flash = gpus.assess_torch(True, "some noise\nnone 0\nmissing flash_attention_3\n")
    assert (none.state, flash.state) == ("FAILED", "FAILED")
    assert "training.attention" in flash.remedy and "envs/gpu.txt" in none.remedy


def test_a_missing_package_for_an_attention_is_found():
    """Here flash-attention is not installed; the others need no package."""
    found = gpus.torch_sees_gpus({"packed", "sdpa", "flash_attention_2"})
    assert [one.found for one in found if one.what == "attention"] == [
        "transformers finds no package for flash_attention_2"
    ]
    assert [found.state for found in gpus.assess_torch(False, "No module named 'torch'")] == ["FAILED"]


def test_on_a_login_node_missing_gpus_are_a_warning_with_the_command_for_a_compute_node():
    found = on_a_node([NEED], "egpo doctor config/paper.yaml")
    assert found.state == "warning"
    assert "srun --gpus=8 --cpus-per-task=16 --mem=200G egpo doctor config/paper.yaml" in found.remedy


# --- models, data, benchmarks, judges --------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    make_inputs(folder)
    return folder / "model"


def test_a_whole_model_has_no_shortcomings(whole):
    assert models.shortcomings(whole) == []


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def pickle_instead(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def add_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "modeling.Own"}}))


def lose_a_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def forget_how_to_chat(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (cut, "model.safetensors is broken or cut off"),
        (pickle_instead, "its weights are pickles, which can run code"),
        (add_code, "auto_map"),
        (lose_a_shard, "model-00002-of-00002.safetensors is missing"),
        (forget_how_to_chat, "no chat template"),
        (lambda folder: (folder / "config.json").unlink(), "config.json: FileNotFoundError"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
    ],
)
def test_shortcomings_of_a_local_model(whole, tmp_path, harm, words):
    folder = shutil.copytree(whole, tmp_path / "model")
    harm(folder)
    backbone = DEMO.backbones["tiny-math"].model_copy(update={"source": LocalModel(kind="local", path=folder)})
    found = models.model("mine", backbone, folder, tmp_path / "manifest.json", "snakemake")
    assert found.state == "FAILED" and words in found.found and "mine.source.path" in found.remedy


def test_a_model_that_was_fetched_is_looked_into_and_one_to_be_made_is_fine(whole, tmp_path):
    backbone = PAPER.backbones["qwen2.5-math-1.5b"]
    (tmp_path / "manifest.json").write_text("{}")
    arguments = backbone, tmp_path / "model", tmp_path / "manifest.json", "snakemake"
    assert models.model("mine", *arguments).state == "FAILED", "the manifest alone is no model"
    shutil.copytree(whole, tmp_path / "model")
    assert models.model("mine", *arguments).state == "ok"
    tiny_math = DEMO.backbones["tiny-math"]
    assert models.model("tiny", tiny_math, tmp_path / "x", tmp_path / "none", "snakemake").found == "will be made here"


def test_offline_a_model_of_the_hub_fails_with_the_way_out():
    """In a process of its own: the Hub's client reads HF_HUB_OFFLINE when it is imported."""
    code = (
        "from egpo.cli.doctor.models import on_hub; print(on_hub('model m', 'model', 'a/b', 'main', 'REMEDY').line())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True
    )
    assert done.stdout.startswith("FAILED   model m: the Hub does not answer for a/b (OfflineModeIsEnabled"), (
        done.stderr
    )
    assert done.stdout.strip().endswith("REMEDY")


def test_data(tmp_path):
    section = DEMO.experiment.data
    small = section.source.model_copy(update={"default_rows": 20, "extended_rows": 10, "planted": False})
    make_source(small, tmp_path / "rows", lambda _: None)
    local = section.model_copy(update={"source": LocalSource(kind="local", path=tmp_path / "rows")})
    assert "30 rows in 2 shards" in inputs.data(local, tmp_path / "none", "snakemake").found
    shard = next((tmp_path / "rows" / "extended").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-50])
    assert inputs.data(local, tmp_path / "none", "snakemake").state == "FAILED"
    assert inputs.data(section, tmp_path / "none", "snakemake").found == "will be made here"


def test_problems_on_the_hub_are_asked_for_each(tmp_path, monkeypatch):
    sets = [{"path": "mine.jsonl"}, {"repo": "a/b", "revision": "1"}, {"repo": "c/d", "revision": "2"}]
    source = ProblemsSource.model_validate({"kind": "problems", "sets": sets})
    section = DEMO.experiment.data.model_copy(update={"source": source})
    lost = {"c/d"}

    def on_hub(what, kind, repo, revision, remedy):
        return Finding("FAILED" if repo in lost else "ok", what, f"{kind} {repo} {revision}", remedy)

    monkeypatch.setattr(inputs, "on_hub", on_hub)
    found = inputs.data(section, tmp_path / "none", "snakemake")
    assert (found.state, found.found) == ("FAILED", "dataset c/d 2") and "repo: /its/path" in found.remedy
    lost.clear()
    assert inputs.data(section, tmp_path / "none", "snakemake").state == "ok"
    local = section.model_copy(update={"source": ProblemsSource(kind="problems", path="mine.jsonl")})
    assert inputs.data(local, tmp_path / "none", "snakemake").found == "mine.jsonl"


def test_benchmarks_in_an_empty_folder_fail(tmp_path):
    entry = {
        "label": "B",
        "adapter": "gsm8k",
        "num_questions": 1,
        "num_fewshot": 0,
        "source": {"kind": "local", "path": str(tmp_path)},
    }
    chosen = {"mine": Benchmark.model_validate(entry)}
    (found,) = inputs.benchmarks(chosen, Paths("never-run"), "egpo fetch")
    assert found.state == "FAILED" and "is empty" in found.found
    (tmp_path / "test.jsonl").write_text("{}")
    assert [each.state for each in inputs.benchmarks(chosen, Paths("never-run"), "egpo fetch")] == ["ok"]


@pytest.mark.parametrize(
    ("value", "url", "state"),
    [
        (None, "https://judge.example/v1", "FAILED"),
        ("", "https://judge.example/v1", "FAILED"),
        ("a-secret", "http://judge.example/v1", "warning"),
        ("a-secret", "http://127.0.0.1:8000/v1", "ok"),
        ("a-secret", "https://judge.example/v1", "ok"),
    ],
)
def test_a_judges_key_must_be_set_and_is_never_shown(monkeypatch, value, url, state):
    monkeypatch.delenv("SOME_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SOME_KEY", value)
    judge = Judge(model="m", url=url, key_variable="SOME_KEY")
    chosen = DEMO.benchmarks["synthetic_minerva"].model_copy(update={"judge": judge})
    (found,) = inputs.judges({"minerva": chosen, "other": DEMO.benchmarks["synthetic_gsm8k"]})
    assert found.state == state
    assert "a-secret" not in found.line()


# --- Slurm -----------------------------------------------------------------------------------------

SINFO = """cpu*|up|infinite|64|250000|(null)
gpu|up|2-00:00:00|128+|1000000+|gpu:h100:8(S:0-1),shard:16
gpu|up|2-00:00:00|64|500000|gpu:4
old|drain|1:00:00|8|32000|gpu:a100:2,gpu:v100:1
"""


def test_partitions_are_read_from_sinfo():
    found = cluster.parse_partitions(SINFO)
    assert found["cpu"] == Partition("cpu", True, True, None, 64, 250000, 0)
    assert found["gpu"] == Partition("gpu", False, True, 2880, 128, 1000000, 8)
    assert found["old"] == Partition("old", False, False, 60, 8, 32000, 3)
    banner = "Welcome!\n\n*** news | at | noon | on | the | roof ***\n"
    assert cluster.parse_partitions(banner + SINFO) == found


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("infinite", None),
        ("30", 30),
        ("30:00", 30),
        ("1:30:00", 90),
        ("2-00:00:00", 2880),
        ("1-12", 2160),
        ("n/a", None),
    ],
)
def test_minutes_as_slurm_writes_them(text, minutes):
    assert cluster.minutes_of(text) == minutes


@pytest.mark.parametrize(
    ("need", "partition", "state", "words"),
    [
        ({}, "gpu", "ok", "partition gpu"),
        ({"gpus": 0, "memory_gib": 16}, None, "ok", "partition cpu"),
        ({}, None, "FAILED", "no node of cpu has more than 0 GPUs of 8"),
        (
            {},
            "gpus",
            "FAILED",
            "there is no partition gpus. Set slurm_partition in slurm/config.yaml to one of: cpu, gpu",
        ),
        ({}, "cpu,gpu", "ok", "partition gpu"),
        ({}, "gpu, cpus", "FAILED", "there is no partition cpus"),
        ({}, "old,cpu", "FAILED", "old is not up"),
        ({}, "old", "FAILED", "old is not up"),
        ({"minutes": 3000}, "gpu", "FAILED", "gpu gives 2880 at most. Lower jobs.train.minutes by 120"),
        ({"memory_gib": 2000}, "gpu", "FAILED", "976 GiB of 2000"),
        ({"gpus": 16}, "gpu", "FAILED", "8 GPUs of 16. In slurm/config.yaml: set-resources: train_model"),
    ],
)
def test_a_rule_against_its_partition(need, partition, state, words):
    wanted = Need(**{**NEED.__dict__, **need})
    found = cluster.assess_rule(wanted, partition, cluster.parse_partitions(SINFO))
    assert found.state == state and words in found.line()


def test_the_partition_is_the_profiles():
    profile = {
        "default-resources": {"slurm_partition": '"cpu"', "slurm_account": "mine"},
        "set-resources": {"train_model": {"slurm_partition": "gpu"}},
    }
    assert cluster.partition_of("train_model", profile) == "gpu"
    assert cluster.partition_of("data_pool", profile) == "cpu"
    assert cluster.partition_of("data_pool", {"default-resources": ["slurm_partition=cpu"]}) == "cpu"
    assert cluster.partition_of("data_pool", {}) is None


@pytest.mark.parametrize(
    ("works", "chosen", "age", "state", "words"),
    [
        (True, None, 300, "ok", "sacct answers"),
        (False, None, 300, "FAILED", "slurm-status-command: squeue"),
        (False, "squeue", 300, "ok", "squeue"),
        (False, "squeue", 60, "warning", "MinJobAge"),
        (True, "squeue", 60, "warning", "MinJobAge"),
    ],
)
def test_accounting(works, chosen, age, state, words):
    found = cluster.assess_accounting(works, "Slurm accounting storage is disabled", chosen, age)
    assert found.state == state and words in found.line()


def test_a_folder_that_the_nodes_do_not_share():
    assert cluster.assess_shared(True, "", "node7").state == "ok"
    assert "does not see" in cluster.assess_shared(False, "exit 1", None).found
    assert "not seen here" in cluster.assess_shared(True, "", None).found


def test_without_slurm(monkeypatch):
    monkeypatch.setattr(cluster.shutil, "which", lambda name: None)
    (fine,) = cluster.cluster([NEED], wanted=False)
    assert (fine.state, fine.found) == ("ok", "not checked: without --slurm everything runs on this machine")
    (wanted,) = cluster.cluster([NEED], wanted=True)
    assert wanted.state == "FAILED" and "login node" in wanted.remedy


# --- verl and vLLM ---------------------------------------------------------------------------------


def with_verl(key: str, value: object):
    training = DEMO.experiment.training.model_copy(update={"overrides": {key: value}})
    return DEMO.model_copy(update={"experiment": DEMO.experiment.model_copy(update={"training": training})})


@pytest.mark.slow
def test_verl_accepts_the_demo():
    assert "accepts the settings of tiny-math grpo" in verl_accepts(DEMO, {"tiny-math": Path("/nowhere")}).found


@pytest.mark.slow
def test_verls_own_refusal_is_shown():
    refused = verl_accepts(
        with_verl("actor_rollout_ref.actor.loss_agg_mode", "mean-token"), {"tiny-math": Path("/nowhere")}
    )
    assert refused.state == "FAILED" and "loss_agg_mode" in refused.found


def test_a_key_that_verl_does_not_have_is_named():
    refused = verl_accepts(with_verl("trainer.no_such", 1), {"tiny-math": Path("/nowhere")})
    assert refused.state == "FAILED" and "trainer.no_such" in refused.found


def test_the_tiny_model_is_one_that_can_be_shared_by_gpus(tmp_path):
    assert tiny_model(tmp_path, gpus=4).source.num_attention_heads == 4
    assert models.shortcomings(tmp_path) == []


@pytest.mark.slow
def test_vllm_really_answers():
    found = vllm_answers(DEMO.experiment.evaluation)
    assert found.state == "ok" and "answers on cpu" in found.found


@pytest.mark.slow
def test_a_vllm_that_cannot_start_is_a_failure(monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "not a number")
    found = vllm_answers(DEMO.experiment.evaluation)
    assert found.state == "FAILED" and "does not start" in found.found


# --- the whole -------------------------------------------------------------------------------------


def names(catalogue) -> list[str]:
    return [name for name, _ in all_checks(catalogue, ["config/x.yaml"], slurm=False)]


def test_the_checks_of_an_experiment(monkeypatch):
    assert names(DEMO)[-3:] == ["Slurm", "verl", "vLLM"]
    assert "GPUs" not in names(DEMO)
    monkeypatch.setattr(gpus, "read_gpus", list)
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/sinfo" if name == "sinfo" else None)
    login = names(PAPER)
    assert "GPUs" in login and not {"vLLM", "torch", "/dev/shm", "cores and memory"} & set(login)
    assert [name for name in login if name.startswith("model ")] == [f"model {name}" for name in PAPER.backbones]
    monkeypatch.setattr(gpus, "read_gpus", lambda: gpus.parse_gpus(EIGHT))
    assert {"GPUs", "torch", "vLLM", "cores and memory"} <= set(names(PAPER))


def test_a_hub_models_remedy_is_egpo_fetch(monkeypatch):
    found = {}
    monkeypatch.setattr(models, "on_hub", lambda what, kind, repo, revision, remedy: found.setdefault(what, remedy))
    checks = dict(all_checks(PAPER, ["config/paper.yaml"], slurm=False))
    checks["model deepseek-r1-7b"]()
    assert "Run `egpo fetch config/paper.yaml` where there is a network" in found["model deepseek-r1-7b"]
