"""`egpo plan`: which jobs it takes from Snakemake's dry run, and the arithmetic of hours and disk.

No number here was measured on a GPU: the sums of the estimate are checked, not whether it comes true.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from small_experiment import SNAKEMAKE

from egpo.cli.main import main
from egpo.cli.plan import cost, earlier
from egpo.cli.plan.dry_run import Job, dry_run
from egpo.cli.plan.fit import disk_gib, too_large, too_long
from egpo.cli.plan.hours import Costed, answers_of, as_run, costed, steps_done, wall_clock
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


# --- Snakemake's dry run -----------------------------------------------------------------------------

SNAKEFILE = """
print("a line of the Snakefile")


rule all:
    input:
        "made/tiny/egpo/1",


rule train_model:
    output:
        "made/{backbone}/{method}/{seed}",
    log:
        "logs/{backbone}/{method}/{seed}.log",
    params:
        word=config.get("word"),
    threads: 6
    resources:
        runtime=90,
        gpu=16,
        nodes=2,
    shell:
        config["command"]
"""
WILDCARDS = {"backbone": "tiny", "method": "egpo", "seed": "1"}
JOB = Job("train_model", WILDCARDS, threads=6, gpus=16, limit=1.5)


@pytest.fixture
def workflow(tmp_path, monkeypatch) -> Path:
    """A folder with a workflow of one job."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "config.yaml").write_text("command: touch {output}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "Snakefile"


def test_a_dry_run_has_the_jobs_that_are_not_done(workflow, capfd):
    assert dry_run(["config.yaml"], {}, workflow) == [JOB]
    assert capfd.readouterr().out == ""
    assert not logging.getLogger("snakemake.logging").handlers
    assert not any(Path(".snakemake/locks").iterdir())
    output = Path("made/tiny/egpo/1")
    output.parent.mkdir(parents=True)
    output.touch()
    subprocess.run(
        [SNAKEMAKE, "--touch", "--cores", "1", "--configfile", "config.yaml"], check=True, capture_output=True
    )
    assert dry_run(["config.yaml"], {}, workflow) == []


def test_jobs_run_again_for_what_the_profile_names(workflow):
    """For a changed parameter, not for a changed command: profiles/default leaves `code` out."""
    command = [SNAKEMAKE, "--cores", "1", "--configfile", "config.yaml", "--config", "word=old"]
    subprocess.run(command, check=True, capture_output=True)
    assert dry_run(["config.yaml"], {"word": "old"}, workflow) == []
    assert dry_run(["config.yaml"], {"word": "new"}, workflow) == [JOB]
    workflow.write_text(SNAKEFILE.replace('config["command"]', 'config["command"] + " "'))
    assert dry_run(["config.yaml"], {"word": "old"}, workflow) == []


def test_why_snakemake_refuses_a_workflow_is_shown(workflow):
    workflow.write_text('rule all:\n    input: "nobody-makes-this"\n')
    with pytest.raises(UserError, match=r"(?s)cannot plan `all`.*nobody-makes-this"):
        dry_run(["config.yaml"], {}, workflow)


def test_the_demo_is_planned_with_keys_of_the_command_line(tmp_path, demo, capfd):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(demo | {"experiment": "only-planned"}))
    shutil.rmtree(ROOT / "results" / "only-planned", ignore_errors=True)
    assert main(["plan", str(file), "--config", "methods=[egpo]"]) == 0
    text = capfd.readouterr().out
    assert text.startswith("results/only-planned: ")
    rows = re.findall(r"^(train|evaluate|rollouts) tiny-math +(\d+) +1 core ", text, flags=re.MULTILINE)
    assert rows == [("train", "1"), ("evaluate", "4"), ("rollouts", "2")], text  # two milestones
    assert not (ROOT / "results" / "only-planned").exists()


# --- hours ----------------------------------------------------------------------------


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


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The folder of results, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return Path("results")


def test_only_a_run_of_the_same_settings_counts_as_measured(here):
    catalogue = paper()
    name, training, method = "qwen2.5-math-7b", catalogue.experiment.training, catalogue.methods["egpo"]
    backbone = catalogue.backbones[name]
    folder = here / "earlier" / "train" / name / "c3" / "seed-1"
    folder.mkdir(parents=True)
    lines = [{"step": step, "timing_s/step": seconds} for step, seconds in enumerate((90, 30, 31, 32, 33), start=1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = verl_config(training, method, backbone, NOWHERE, NOWHERE, NOWHERE, 1, NOWHERE)
    (folder / "verl.yaml").write_text(as_text(config))
    settings = earlier.step_settings(training, method, backbone)
    assert earlier.step_seconds(name, settings) == 32
    for change in ({"gpus_per_node": 4}, {"rollouts_per_prompt": 8}, {"train_batch_size": 32}, {"platform": "cpu"}):
        other = training.model_copy(update=change)
        assert earlier.step_seconds(name, earlier.step_settings(other, method, backbone)) is None, change
    assert earlier.step_seconds(name, earlier.step_settings(training, catalogue.methods["dapo"], backbone)) is None
    assert earlier.step_seconds("deepseek-r1-7b", settings) is None


def test_a_running_training_is_a_measurement_too(here):
    catalogue = paper()
    name, training, method = "qwen2.5-math-7b", catalogue.experiment.training, catalogue.methods["egpo"]
    folder = here / "now" / "train" / name / "egpo" / "seed-1"
    (folder / "work").mkdir(parents=True)
    (folder / "work" / "metrics.jsonl").write_text('{"step": 1, "timing_s/step": 12}\n{"step": 2, "timi')
    config = verl_config(training, method, catalogue.backbones[name], NOWHERE, NOWHERE, NOWHERE, 1, NOWHERE)
    (folder / "verl.yaml").write_text(as_text(config))
    assert earlier.step_seconds(name, earlier.step_settings(training, method, catalogue.backbones[name])) == 12


def test_the_seconds_of_an_answer_are_those_of_equal_decoding(here):
    catalogue = paper()
    name, evaluation = "qwen2.5-math-7b", catalogue.experiment.evaluation
    backbone = catalogue.backbones[name]
    settings = earlier.answer_settings(backbone, evaluation)
    assert earlier.answer_seconds(name, settings) is None
    file = here / "earlier" / "evaluate" / name / "base" / "seed-0" / "manifest.json"
    manifest = {"settings": {"decoding": decoding(backbone, evaluation)}, "results": {"math_500": {"records": 4000}}}
    write_json(file, manifest)  # as it was before evaluations were timed
    assert earlier.answer_seconds(name, settings) is None
    write_json(file, manifest | {"seconds": 2000, "max_num_seqs": evaluation.max_num_seqs, "gpus": 1})
    assert earlier.answer_seconds(name, settings) == 0.5
    for change in ({"max_num_seqs": 32}, {"gpus": 2}, {"dtype": "float32"}, {"platform": "cpu"}):
        other = evaluation.model_copy(update=change)
        assert earlier.answer_seconds(name, earlier.answer_settings(backbone, other)) is None, change


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"settings": {"decoding": 3}}', "\udcff"])
def test_a_damaged_file_of_any_experiment_is_said_and_does_not_count(here, text, capsys, demo):
    name, catalogue = "qwen2.5-math-7b", paper()
    earlier._say_skipped.cache_clear()
    for file in (f"evaluate/{name}/base/seed-0/manifest.json", f"train/{name}/egpo/seed-1/verl.yaml"):
        (here / "other" / file).parent.mkdir(parents=True)
        (here / "other" / file).write_bytes(text.encode(errors="surrogateescape"))
    settings = earlier.answer_settings(catalogue.backbones[name], catalogue.experiment.evaluation)
    assert earlier.answer_seconds(name, settings) is None and earlier.answer_seconds(name, settings) is None
    assert capsys.readouterr().err.count("manifest.json or a file beside it is damaged") == 1
    assert earlier.step_seconds(name, {"trainer.nnodes": 1}) is None
    usage(here, "other/usage/data/pool", 7200)
    (here / "other" / "source").mkdir()
    (here / "other" / "source" / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    assert costed(Job("data_pool", {}, 2, 0, 1.0), load(demo, "demo.yaml")).basis == "limit"


def usage(results: Path, file: str, seconds: float) -> None:
    """A benchmark file as Snakemake writes it."""
    path = results / f"{file}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\tcpu_time\n{seconds:.4f}\t0:00:10\t98.5\t-\n")


def test_jobs_without_another_measurement_learn_from_snakemakes_benchmarks(here, demo):
    catalogue = load(demo, "demo.yaml")
    model = {"backbone": "tiny-math", "method": "egpo", "seed": "1"}
    training = Job("train_model", model, 2, 0, 1.0)
    measures = Job("measure_rollouts", model, 1, 0, 1.0)
    assert costed(training, catalogue) == Costed(training, 1.0, "limit")
    for experiment, seconds in (("a", 360), ("b", 720), ("c", 7200)):
        usage(here, f"{experiment}/usage/train/tiny-math/grpo/seed-3", seconds)
        usage(here, f"{experiment}/usage/train/tiny-think/grpo/seed-3", 1)
    usage(here, "a/usage/uncertainty/tiny-math/egpo/seed-1", 1)
    usage(here, "a/usage/uncertainty/tiny-math/egpo/seed-1-measures", 36)
    assert costed(training, catalogue) == Costed(training, 0.2, "measured")
    assert costed(measures, catalogue) == Costed(measures, 0.01, "measured")
    figure = Job("learning_curve", {}, 1, 0, 0.25)
    assert costed(figure, catalogue) == Costed(figure, 0.25, "limit")
    on_gpus = job("train_model")
    usage(here, "a/usage/train/qwen2.5-math-7b/egpo/seed-1", 1)
    assert costed(on_gpus, paper()).basis == "estimate"


def test_jobs_of_other_source_data_say_nothing_of_these(here, demo):
    catalogue = load(demo, "demo.yaml")
    pool = Job("data_pool", {}, 2, 0, 1.0)
    usage(here, "paper/usage/data/pool", 7200)
    source = catalogue.experiment.data.source.model_dump(mode="json")
    write_json(here / "paper" / "source" / "manifest.json", {"source": source | {"default_rows": 200_000}})
    assert costed(pool, catalogue).basis == "limit"
    usage(here, "demo/usage/data/pool", 18)
    write_json(here / "demo" / "source" / "manifest.json", {"source": source})
    assert costed(pool, catalogue) == Costed(pool, 0.005, "measured")


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


def test_an_evaluation_takes_as_long_as_it_and_its_rollouts():
    jobs = [
        Costed(job("evaluate_model", "egpo", gpus=1), 2, "estimate"),
        Costed(job("roll_out", "egpo", gpus=1), 1, "limit"),
        Costed(job("evaluate_model", "grpo", gpus=1), 2, "estimate"),
        Costed(job("roll_out", "base", gpus=1), 4, "estimate"),
    ]
    expected = [Costed(jobs[0].job, 3, "limit"), jobs[2], jobs[3]]
    assert as_run(jobs) == expected
    assert wall_clock(as_run(jobs), 8) == 4


# --- disk, memory and limits -----------------------------------------------------------------------------


def test_checkpoints_that_exist_are_not_written_again(here):
    before = sum(disk_gib([job("train_model")], paper()).values())
    checkpoint = here / "paper/train/qwen2.5-math-7b/egpo/seed-1/work/checkpoints/global_step_20"
    checkpoint.mkdir(parents=True)
    with (checkpoint / "sparse").open("wb") as file:
        file.truncate(100 * 2**30)
    assert before - sum(disk_gib([job("train_model")], paper()).values()) == pytest.approx(100)


def test_a_training_of_7b_leaves_two_checkpoints_and_a_model():
    needed = disk_gib([job("train_model")], paper())
    billions = 7.616e9 / 2**30
    assert sum(needed.values()) == pytest.approx((2 * 16 + 4 + 16) * billions, rel=1e-3)


def test_milestones_take_a_model_each(here):
    training = read_yaml(ROOT / "config" / "paper.yaml")["training"]
    four = paper(training=training | {"milestones": 4})
    more = disk_gib([job("train_model")], four)
    assert more.pop("milestones of trainings") == pytest.approx(4 * 4 * 7.616e9 / 2**30, rel=1e-3)
    without = disk_gib([job("train_model")], paper())
    assert without.pop("milestones of trainings") == 0 and more == without
    kept = here / "paper/train/qwen2.5-math-7b/egpo/seed-1/milestones/step-154"
    kept.mkdir(parents=True)
    with (kept / "sparse").open("wb") as file:
        file.truncate(10 * 2**30)
    later = disk_gib([job("train_model")], four)
    assert later.pop("milestones of trainings") == pytest.approx(4 * 4 * 7.616e9 / 2**30 - 10, rel=1e-3)
    assert later == pytest.approx(more)


def test_a_milestone_has_its_own_answers_and_no_rollouts():
    evaluation = read_yaml(ROOT / "config" / "paper.yaml")["evaluation"]
    catalogue = paper(evaluation=evaluation | {"milestones": {"benchmarks": ["gsm8k", "aime24"], "seeds": [1, 2]}})
    final = job("evaluate_model", gpus=1)
    milestone = Job("evaluate_milestone", {**final.wildcards, "step": "154"}, threads=2, gpus=1, limit=48)
    assert answers_of(milestone, catalogue) == 2 * (1319 + 30)
    assert answers_of(final, catalogue) == 8 * (500 + 30 + 3018 + 272 + 1319)
    jobs = [Costed(final, 2, "estimate"), Costed(milestone, 1, "estimate"), Costed(job("roll_out"), 3, "estimate")]
    assert as_run(jobs) == [Costed(final, 5, "estimate"), jobs[1]]
    assert costed(milestone, catalogue).basis == "estimate"


@pytest.mark.parametrize("rule", ["data_source", "data_standin"])
def test_source_data_take_disk_however_they_are_made(rule):
    assert disk_gib([Job(rule, {}, threads=1, gpus=0, limit=1)], paper())["data"] > 0


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
