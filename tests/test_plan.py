"""`snakemake plan`: which jobs it reads from Snakemake's own dry run, and the arithmetic of hours and disk.

No number here was measured on a GPU: the sums of the estimate are checked, not whether it comes true.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from small_experiment import SNAKEMAKE

from egpo.cli import cost
from egpo.cli.plan import Costed, Job, disk_gib, dry_run, read_jobs, steps_done, too_large, too_long, wall_clock
from egpo.common.errors import UserError
from egpo.common.files import write_json
from egpo.common.paths import ROOT
from egpo.config.experiment import Catalogue
from egpo.config.files import read_yaml
from egpo.config.loader import load
from egpo.inference.decoding import decoding
from egpo.training.checkpoints import folder_of, mark_complete
from egpo.training.settings import as_text, verl_config

NOWHERE = Path("nowhere")


def paper(**changes: object) -> Catalogue:
    return load(read_yaml(ROOT / "config" / "paper.yaml") | changes, "paper.yaml")


def job(rule: str, method: str = "egpo", gpus: int = 8, backbone: str = "qwen2.5-math-7b") -> Job:
    return Job(rule, {"backbone": backbone, "method": method, "seed": "1"}, threads=2, gpus=gpus, limit=48)


# --- what Snakemake says ---------------------------------------------------------------------------

SNAKEFILE = """
rule all:
    input:
        "made/tiny/egpo/1",


rule train_model:
    output:
        "made/{backbone}/{method}/{seed}",
    log:
        "logs/{backbone}/{method}/{seed}.log",
    threads: 6
    resources:
        runtime=90,
        gpu=8,
        nodes=2,
    shell:
        config["command"]
"""


@pytest.fixture
def workflow(tmp_path, monkeypatch) -> Path:
    """A folder with a workflow of one job, for Snakemake itself to plan."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "config.yaml").write_text("command: touch {output}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_dry_run_is_read_before_and_after_the_job(workflow):
    wildcards = {"backbone": "tiny", "method": "egpo", "seed": "1"}
    text = dry_run(["config.yaml"], {})
    assert read_jobs(text) == [Job("train_model", wildcards, threads=6, gpus=16, limit=1.5)]
    with pytest.raises(RuntimeError, match="2 jobs, and 1 were read"):  # what a new format would do
        read_jobs(text.replace("rule all:", "Rule 'all'"))
    with pytest.raises(RuntimeError, match="no number of jobs"):
        read_jobs("")
    output = workflow / "made" / "tiny" / "egpo" / "1"
    output.parent.mkdir(parents=True)
    output.touch()
    subprocess.run(
        [SNAKEMAKE, "--touch", "--cores", "1", "--configfile", "config.yaml"], check=True, capture_output=True
    )
    assert read_jobs(dry_run(["config.yaml"], {})) == []


def test_what_snakemake_says_against_a_plan_is_shown(workflow):
    (workflow / "Snakefile").write_text('rule all:\n    input: "nobody-makes-this"\n')
    with pytest.raises(UserError, match=r"(?s)cannot plan `all`.*nobody-makes-this"):
        dry_run(["config.yaml"], {})


@pytest.mark.slow
def test_the_demo_is_planned_with_what_config_says_too(tmp_path, demo):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(demo | {"experiment": "only-planned"}))
    shutil.rmtree(results := ROOT / "results" / "only-planned", ignore_errors=True)
    run = subprocess.run(
        [SNAKEMAKE, "plan", "--cores", "1", "--configfile", str(file), "--config", "methods=[egpo]"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        stdin=subprocess.DEVNULL,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    rows = re.findall(r"^(train|evaluate|rollouts) tiny-math +(\d+) +2 core ", run.stdout, flags=re.MULTILINE)
    assert rows == [("train", "1"), ("evaluate", "2"), ("rollouts", "2")], run.stdout
    made = {path.name for path in results.rglob("*") if path.is_file()}
    shutil.rmtree(results)
    assert made == {"plan.log"}


# --- what the jobs take ----------------------------------------------------------------------------


def test_the_hours_of_a_step_are_those_of_the_sums_on_paper():
    """1.544e9 parameters, 128 rollouts a GPU of 1,536 tokens on average, each with 28,672 bytes of cache."""
    catalogue = paper()
    name, training = "qwen2.5-math-1.5b", catalogue.experiment.training
    backbone = catalogue.backbones[name]
    update = 8 * 1.544e9 * 128 * (256 + 1536) / (0.3 * 989e12)
    decode = (3072 * 2 * 1.544e9 + 128 * 1536 * (256 + 768) * 28672) / (0.5 * 3.35e12) + 3072 * 0.005
    size = backbone.source.architecture
    steps = {
        method: cost.step_seconds(size, backbone, training, catalogue.methods[method]) for method in ("egpo", "dapo")
    }
    assert steps["egpo"] == pytest.approx(update + decode, rel=1e-3)
    assert steps["dapo"] == pytest.approx(update + 2 * decode, rel=1e-3)


def test_only_a_run_of_the_same_settings_counts_as_measured(tmp_path):
    catalogue = paper()
    name, training, method = "qwen2.5-math-7b", catalogue.experiment.training, catalogue.methods["egpo"]
    backbone = catalogue.backbones[name]
    folder = tmp_path / "earlier" / "train" / name / "c3" / "seed-1"
    folder.mkdir(parents=True)
    lines = [{"step": step, "timing_s/step": seconds} for step, seconds in enumerate((90, 30, 31, 32, 33), start=1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = verl_config(training, method, backbone, NOWHERE, NOWHERE, NOWHERE, 1, NOWHERE)
    (folder / "verl.yaml").write_text(as_text(config))
    assert cost.measured_step(tmp_path, name, cost.wanted(training, method, backbone)) == 32
    for change in ({"gpus_per_node": 4}, {"rollouts_per_prompt": 8}, {"train_batch_size": 32}, {"platform": "cpu"}):
        other = training.model_copy(update=change)
        assert cost.measured_step(tmp_path, name, cost.wanted(other, method, backbone)) is None, change
    assert cost.measured_step(tmp_path, name, cost.wanted(training, catalogue.methods["dapo"], backbone)) is None
    assert cost.measured_step(tmp_path, "deepseek-r1-7b", cost.wanted(training, method, backbone)) is None


def test_a_training_under_way_is_a_measurement_too(tmp_path):
    catalogue = paper()
    name, training, method = "qwen2.5-math-7b", catalogue.experiment.training, catalogue.methods["egpo"]
    folder = tmp_path / "now" / "train" / name / "egpo" / "seed-1"
    (folder / "work").mkdir(parents=True)
    (folder / "work" / "metrics.jsonl").write_text('{"step": 1, "timing_s/step": 12}\n{"step": 2, "timi')
    config = verl_config(training, method, catalogue.backbones[name], NOWHERE, NOWHERE, NOWHERE, 1, NOWHERE)
    (folder / "verl.yaml").write_text(as_text(config))
    assert cost.measured_step(tmp_path, name, cost.wanted(training, method, catalogue.backbones[name])) == 12


def test_the_seconds_of_an_answer_are_those_of_equal_decoding(tmp_path):
    catalogue = paper()
    name, evaluation = "qwen2.5-math-7b", catalogue.experiment.evaluation
    backbone = catalogue.backbones[name]
    like = cost.wanted_answers(backbone, evaluation)
    assert cost.measured_answer(tmp_path, name, like) is None
    file = tmp_path / "earlier" / "evaluate" / name / "base" / "seed-0" / "manifest.json"
    manifest = {"settings": {"decoding": decoding(backbone, evaluation)}, "results": {"math_500": {"records": 4000}}}
    write_json(file, manifest)  # as it was before evaluations were timed
    assert cost.measured_answer(tmp_path, name, like) is None
    write_json(file, manifest | {"seconds": 2000, "max_num_seqs": evaluation.max_num_seqs})
    assert cost.measured_answer(tmp_path, name, like) == 0.5
    for change in ({"max_num_seqs": 32}, {"gpus": 2}, {"dtype": "float32"}, {"platform": "cpu"}):
        other = evaluation.model_copy(update=change)
        assert cost.measured_answer(tmp_path, name, cost.wanted_answers(backbone, other)) is None, change


def test_a_training_that_was_cut_off_goes_on_from_its_checkpoint(tmp_path):
    assert steps_done(tmp_path) == 0
    for step in (4, 8, 12):
        checkpoint = folder_of(tmp_path / "work" / "checkpoints", step)
        checkpoint.mkdir(parents=True)
        if step < 12:  # the last is not whole
            mark_complete(tmp_path / "work" / "checkpoints", step)
    assert steps_done(tmp_path) == 8
    (tmp_path / "manifest.json").touch()  # finished, and wanted anew: of other settings or code
    assert steps_done(tmp_path) == 0


def test_evaluations_wait_for_their_training_and_for_gpus():
    jobs = [
        Costed(job("train_model", "egpo"), 10, "estimate"),
        Costed(job("train_model", "grpo"), 6, "estimate"),
        Costed(job("evaluate_model", "egpo", gpus=1), 2, "estimate"),
        Costed(job("evaluate_model", "grpo", gpus=1), 3, "estimate"),
        Costed(job("evaluate_model", "base", gpus=1), 4, "estimate"),
    ]
    assert wall_clock(jobs, float("inf")) == 12  # egpo and its evaluation
    assert wall_clock(jobs, 16) == 12  # base is evaluated once grpo is trained, at 6
    assert wall_clock(jobs, 8) == 20  # 10 and 6, then 2, 3 and 4 beside one another
    assert wall_clock(jobs, 4) is None
    assert wall_clock(jobs, 1, "threads") == 25  # jobs of 2 threads take what there is


# --- what will not fit -----------------------------------------------------------------------------


def test_checkpoints_that_lie_there_are_not_written_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sum(disk_gib([job("train_model")], paper(), {}).values())
    checkpoint = tmp_path / "results/paper/train/qwen2.5-math-7b/egpo/seed-1/work/checkpoints/global_step_20"
    checkpoint.mkdir(parents=True)
    with (checkpoint / "sparse").open("wb") as file:
        file.truncate(100 * 2**30)
    assert before - sum(disk_gib([job("train_model")], paper(), {}).values()) == pytest.approx(100)


def test_a_training_of_7b_leaves_two_checkpoints_and_a_model():
    needed = disk_gib([job("train_model")], paper(), {})
    billions = 7.616e9 / 2**30
    assert sum(needed.values()) == pytest.approx((2 * 16 + 4 + 16) * billions, rel=1e-3)


def test_seven_billion_parameters_do_not_fit_one_gpu():
    training = read_yaml(ROOT / "config" / "paper.yaml")["training"]
    jobs = [job("train_model"), job("train_model", "grpo"), job("train_model", backbone="qwen2.5-math-1.5b")]
    assert too_large(jobs, paper()) == []
    lines = too_large(jobs, paper(training=training | {"gpus_per_node": 1}))
    assert any(line.startswith("train qwen2.5-math-7b: the update needs about") for line in lines), lines


@pytest.mark.parametrize(
    ("rule", "hours", "basis", "said"),
    [
        ("train_model", 140, "estimate", None),  # 3 attempts of 47 h
        (
            "train_model",
            142,
            "measured",
            "142 h (measured), but 3 x 47 h allowed (by the retries of slurm/config.yaml): raise jobs.train.minutes",
        ),
        ("train_model", 142, "limit", None),
        ("evaluate_model", 70, "estimate", None),  # goes on from its finished trials
        (
            "evaluate_model",
            73,
            "estimate",
            "73 h (estimate), but 3 x 24 h allowed (by the retries of slurm/config.yaml): raise jobs.evaluate.minutes",
        ),
        ("roll_out", 23, "estimate", None),
    ],
)
def test_jobs_that_are_too_long_for_their_limit(rule, hours, basis, said):
    lines = too_long([Costed(job(rule), 1, basis), Costed(job(rule), hours, basis)], paper(), retries=2)
    assert [said in line for line in lines] == [True] if said else lines == []
