"""The workflow as a user meets it: plans, messages, targets. Dry runs; nothing here starts a training."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from small_experiment import SNAKEMAKE
from waiting import LIMIT

from egpo.common.paths import ROOT


def snakemake(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [SNAKEMAKE, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL
    )


def planned_jobs(text: str) -> dict[str, int]:
    """Jobs per rule, from the table that a dry run prints."""
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", text, flags=re.MULTILINE)}


def fresh(tmp_path: Path, values: dict) -> str:
    """A configuration file whose results cannot be there yet."""
    values["experiment"] = "never-run"
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(values))
    return str(file)


DATA = {"backbone_tokenizer", "benchmark_make", "benchmark_questions", "data_standin", "data_pool"}
PAPER = {  # 4 backbones x (base + 4 methods) + 6 ablations
    "backbone_fetch": 4,
    "data_source": 1,
    "benchmark_questions": 1,
    "data_pool": 1,
    "train_model": 4 * 4 + 6,
    "evaluate_model": 4 * 5 + 6,
    "table1": 1,
    "table2": 1,
    "comparisons": 1,
    "answers": 1,
    "learning_curve": 1,
    "funnel_figure": 1,
}


@pytest.mark.parametrize("arguments", [("--configfile", "config/paper.yaml"), ("--profile", "slurm")])
def test_the_papers_whole_matrix_is_planned(arguments):
    plan = snakemake(*arguments, "-n", "all")
    assert plan.returncode == 0, plan.stderr
    jobs = planned_jobs(plan.stdout + plan.stderr)
    assert {rule: jobs.get(rule) for rule in PAPER} == PAPER
    for backbone in ("qwen2.5-math-1.5b", "deepseek-r1-1.5b", "qwen2.5-math-7b", "deepseek-r1-7b"):
        for method in ("grpo", "dapo", "edge_grpo", "egpo"):
            assert f"results/paper/train/{backbone}/{method}/seed-1/manifest.json" in plan.stdout + plan.stderr


def test_demo_is_planned_by_default(tmp_path, demo):
    plan = snakemake("--configfile", fresh(tmp_path, demo), "-n", "all")
    jobs = planned_jobs(plan.stdout + plan.stderr)
    assert (jobs["train_model"], jobs["evaluate_model"], jobs["benchmark_make"]) == (2, 3, 1)


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        ("data", DATA | {"data_card"}),
        ("train", DATA | {"backbone_warm_up", "train_model"}),
        ("results/never-run/benchmarks/synthetic_aime24.questions.jsonl", {"benchmark_make", "benchmark_questions"}),
        ("results/never-run/tables/ceilings.md", {"benchmark_make", "score_references", "ceilings"}),
    ],
)
def test_targets_plan_what_they_need_alone(tmp_path, demo, target, rules):
    plan = snakemake("--configfile", fresh(tmp_path, demo), "-n", target)
    assert set(planned_jobs(plan.stdout + plan.stderr)) - {target, "total"} == rules


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"trainng": {}}, "trainng: there is no such key. Did you mean 'training'?"),
        ({"backbones": ["own"]}, "'own' is not an entry of config/backbones.yaml"),
        ({"training_seeds": [-1]}, "training_seeds.0: -1 is not allowed"),
    ],
)
def test_a_wrong_key_stops_before_any_job_with_one_message(tmp_path, demo, change, expected):
    file = fresh(tmp_path, demo | change)
    run = snakemake("--cores", "1", "all", "--configfile", file)
    text = run.stdout + run.stderr
    assert run.returncode != 0
    assert f"{file}: " in text and expected in text
    assert "Traceback" not in text
    assert "rule " not in text, "no job was started"


@pytest.mark.parametrize(
    ("target", "trainings", "evaluations"),
    [("ablations", 15, 16), ("c3", 1, 1), ("egpo-answer", 1, 1), ("egpo", 2, 2)],
)
def test_a_method_is_a_target_that_plans_its_own_jobs_alone(target, trainings, evaluations):
    plan = snakemake(target, "-n", "--configfile", "config/demo.yaml", "config/demo-full.yaml", "--forceall")
    jobs = planned_jobs(plan.stdout + plan.stderr)
    assert (jobs["train_model"], jobs["evaluate_model"]) == (trainings, evaluations), plan.stderr
    assert set(jobs) - DATA - {"backbone_warm_up", "total"} == {"train_model", "evaluate_model"} | (
        {target} if "-" not in target else set()
    )


def test_a_method_outside_the_experiment_is_a_target_too(tmp_path, demo):
    plan = snakemake("c3", "-n", "--configfile", fresh(tmp_path, demo))
    assert "train/tiny-math/c3/seed-1/manifest.json" in plan.stdout + plan.stderr


def test_ablations_without_a_section_say_so(tmp_path, demo):
    plan = snakemake("ablations", "-n", "--configfile", fresh(tmp_path, demo))
    assert plan.returncode != 0 and "no section 'ablations'" in plan.stdout + plan.stderr


def test_a_method_cannot_have_the_name_of_a_target(tmp_path, demo):
    file = fresh(tmp_path, demo | {"define": {"methods": {"data": {"label": "Data"}}}})
    plan = snakemake("-n", "--configfile", file)
    assert plan.returncode != 0 and "define.methods.data: has the name of a target" in plan.stdout + plan.stderr


def test_demo_full_is_planned_whole():
    plan = snakemake(
        "all", "ablations", "-n", "--configfile", "config/demo.yaml", "config/demo-full.yaml", "--forceall"
    )
    jobs = planned_jobs(plan.stdout + plan.stderr)
    assert (jobs["train_model"], jobs["evaluate_model"], jobs["backbone_warm_up"]) == (22, 24, 2), plan.stderr
