"""A whole experiment, end to end: real verl, vLLM and evalscope; what an edit runs again; killed and taken up again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
import small_experiment
import yaml
from PIL import Image
from waiting import LIMIT, until

from egpo.common.paths import ROOT

NAME = "test-end-to-end"
RESULTS = ROOT / "results" / NAME
TRAINING = RESULTS / "train/minute/egpo/seed-1"


@pytest.fixture(scope="module")
def configuration(tmp_path_factory) -> str:
    shutil.rmtree(RESULTS, ignore_errors=True)
    yield small_experiment.write(NAME, tmp_path_factory.mktemp("configuration") / "small.yaml", milestones=1)
    shutil.rmtree(RESULTS, ignore_errors=True)


def start(configuration: str, *more: str) -> subprocess.Popen:
    return small_experiment.start("all", configuration, "--cores", "2", *more)


def descendants(process: subprocess.Popen) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def steps_done() -> list[int]:
    file = TRAINING / "work" / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line)["step"] for line in lines]


def left_behind() -> list[str]:
    """Command lines of processes that belong to this experiment's training or evaluation."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ", "status"]):
        words = " ".join(process.info["cmdline"] or [])
        environment = process.info["environ"] or {}
        ours = str(RESULTS) in words or str(RESULTS) in environment.get("TENSORBOARD_DIR", "")
        if ours and process.info["status"] != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
            found.append(words)
    return found


def finish(configuration: str, *more: str) -> str:
    run = start(configuration, *more)
    text = run.communicate(timeout=2 * LIMIT)[0]
    assert run.returncode == 0, text
    until("the end of every process", lambda: not left_behind())
    return text


def test_a_run_from_an_empty_folder_ends_well(configuration):
    finish(configuration)
    assert (RESULTS / "report.html").exists()


def test_results_are_whole(configuration):
    for method, seed in (("base", 0), ("egpo", 1)):
        records = pd.read_parquet(RESULTS / f"evaluate/minute/{method}/seed-{seed}/records.parquet")
        assert records.groupby(["benchmark", "seed"]).size().tolist() == [10, 10, 10, 10]
    table = pd.read_csv(RESULTS / "tables" / "table1.csv")
    assert len(table) == 4
    assert set(table["n_questions"]) == {10}
    for suffix in ("md", "tex", "csv"):
        assert "these numbers mean nothing" in (RESULTS / "tables" / f"table1.{suffix}").read_text()
    assert Image.open(RESULTS / "figures" / "learning_curve.png").size[0] > 500
    rollouts = pd.read_parquet(RESULTS / "uncertainty/minute/egpo/seed-1/measures.parquet")
    assert rollouts.groupby("problem").size().tolist() == [2] * 6
    page = (RESULTS / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 11 and "these numbers mean nothing" in page
    assert 'src="http' not in page and '<h2 id="lineage">' in page
    assert (RESULTS / "figures" / "learning_curve.pdf").read_bytes().startswith(b"%PDF")
    manifest = json.loads((TRAINING / "manifest.json").read_text())
    assert {"settings", "code", "inputs", "packages"} <= set(manifest)


def test_vllm_loads_once_for_a_models_evaluation_and_its_rollouts(configuration):
    logs = RESULTS / "logs"
    for model in ("base/seed-0", "egpo/seed-1"):
        evaluation, rollouts = (logs / kind / "minute" / f"{model}.log" for kind in ("evaluate", "uncertainty"))
        assert evaluation.read_text().count("into vLLM") == 1
        assert "into vLLM" not in rollouts.read_text() and "2 of 2 shards are finished already" in rollouts.read_text()


def test_the_training_is_one_of_the_weights_that_vllm_samples_from(configuration):
    metrics = pd.read_json(TRAINING / "metrics.jsonl", lines=True).set_index("step").loc[1:]
    assert metrics.index.tolist() == [1, 2, 3, 4]
    assert metrics["critic/score/mean"].between(-1, 1).all()
    assert (metrics["actor/grad_norm"] > 0).all()
    assert (metrics["rollout_corr/log_ppl_abs_diff"] < 1e-3).all()
    assert metrics["egpo/entropy/incorrect/mean"].notna().all()


def test_the_record_has_every_response_of_the_training(configuration):
    rows = pd.read_parquet(TRAINING / "responses.parquet")
    assert rows.groupby("step").size().tolist() == [32] * 4  # 8 prompts with 4 rollouts
    assert set(rows["problem"]) <= {
        row["uuid"] for row in pd.read_parquet(RESULTS / "data/train.parquet")["extra_info"]
    }
    metrics = pd.read_json(TRAINING / "metrics.jsonl", lines=True).set_index("step").loc[1:]
    assert rows.groupby("step")["reward"].mean().to_list() == pytest.approx(metrics["critic/score/mean"].to_list())
    samples = [json.loads(line) for line in (TRAINING / "samples.jsonl").read_text().split("\n") if line]
    assert len(samples) == 4 * 2 * 4 and all(one["text"] for one in samples)
    assert "to the bit" in (RESULTS / "tables" / "replay.md").read_text()


def test_the_exported_model_loads_and_differs_from_the_backbone(configuration):
    import torch
    from transformers import AutoModelForCausalLM

    before, after = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
        for folder in (RESULTS / "backbones/minute/model", TRAINING / "model")
    )
    assert before.keys() == after.keys()
    assert "attn_implementation" not in (TRAINING / "model" / "config.json").read_text()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_model_of_a_milestone_loads_and_is_evaluated(configuration):
    import torch
    from transformers import AutoModelForCausalLM

    folders = (RESULTS / "backbones/minute/model", TRAINING / "milestones/step-2", TRAINING / "model")
    before, between, after = (AutoModelForCausalLM.from_pretrained(folder, dtype="auto") for folder in folders)
    assert between.dtype == after.dtype
    for other in (before, after):
        pairs = zip(between.parameters(), other.parameters(), strict=True)
        assert any(not torch.equal(one, two) for one, two in pairs)
    assert {file.name for file in folders[1].iterdir()} == {file.name for file in folders[2].iterdir()}
    assert sorted(path.name for path in folders[1].parent.iterdir()) == ["step-2", "step-2.json"]
    records = pd.read_parquet(RESULTS / "evaluate/minute/egpo/seed-1/step-2/records.parquet")
    assert records.groupby(["benchmark", "seed"]).size().to_dict() == {("few-sums", 1): 10}
    table = pd.read_csv(RESULTS / "tables/accuracy_by_step.csv")
    assert table[["step", "n_trials"]].to_numpy().tolist() == [[0, 2], [2, 1], [4, 2]]


def test_a_third_run_has_nothing_to_do(configuration):
    text = start(configuration).communicate(timeout=LIMIT)[0]
    assert "Nothing to be done" in text


@pytest.mark.slow
def test_a_killed_training_ends_the_run_and_the_next_one_resumes(configuration):
    finish(configuration)  # nothing to do after the tests above
    records = RESULTS / "evaluate/minute/egpo/seed-1/records.parquet"
    scores = pd.read_parquet(records)
    small_experiment.forget_training(RESULTS)
    run = start(configuration)
    until("step 2", lambda: max(steps_done(), default=0) >= 2 or run.poll() is not None)
    assert run.poll() is None, run.stdout.read()
    (trainer,) = (child for child in descendants(run) if child.cmdline()[1:3] == ["-m", "egpo.verl_plugin.driver"])
    trainer.send_signal(signal.SIGKILL)
    text = run.communicate(timeout=LIMIT)[0]
    assert run.returncode != 0
    assert "train minute egpo seed 1: failed" in text
    assert "Run again to resume" in text
    assert not (TRAINING / "manifest.json").exists()
    until("the end of every process", lambda: not left_behind())
    resumed = re.search(r"resuming after step (\d)", finish(configuration))
    assert resumed and int(resumed[1]) >= 1
    metrics = pd.read_json(TRAINING / "metrics.jsonl", lines=True)
    assert metrics["step"].loc[metrics["step"] > 0].tolist() == [1, 2, 3, 4], "each step once"
    pd.testing.assert_frame_equal(pd.read_parquet(records), scores)


@pytest.mark.slow
def test_a_clock_that_is_ahead_costs_no_training(configuration):
    """Snakemake takes nothing that is made from a file of the future. Once the times are right, jobs find their work
    done."""
    finish(configuration)
    model = (TRAINING / "model" / "model.safetensors").read_bytes()
    records = RESULTS / "evaluate/minute/egpo/seed-1/records.parquet"
    scores = pd.read_parquet(records)
    pool = RESULTS / "data" / "train.parquet"
    as_if_large = ("--max-checksum-file-size", "0")  # of small files it compares contents, not times
    ahead = time.time() + 3600
    os.utime(pool, (ahead, ahead))
    run = start(configuration, *as_if_large)
    refused = run.communicate(timeout=LIMIT)[0]
    assert run.returncode != 0 and "This could indicate a clock skew problem" in refused
    os.utime(pool)
    text = finish(configuration, *as_if_large)
    assert all("4 steps done" in words and "step 4/4" not in words for words in (refused, text))
    assert "4 of 4 trials are finished already" in text
    assert (TRAINING / "model" / "model.safetensors").read_bytes() == model
    pd.testing.assert_frame_equal(pd.read_parquet(records), scores)


# --- what an edit runs again ------------------------------------------------------------------------

BY_STEP = {"accuracy_by_step", "accuracy_by_step_figure"}
TABLES = {
    "table1",
    "comparisons",
    "answers",
    "claims",
    "table3",
    "case_study",
    "replay",
    "measured",
    "learned",
    *BY_STEP,
}
OVERVIEW = {"accuracy_figure", "forest_figure"}
FIGURES = {"learning_curve", "entropy_figures", "replay_figure", *OVERVIEW}
CARD = {"data_card", "funnel_figure", "report", "all"}
AFTER_A_TRAINING = {
    "evaluate_model",
    "evaluate_milestone",
    "roll_out",
    "measure_rollouts",
    *TABLES,
    *FIGURES,
    "report",
    "all",
}
AFTER_THE_POOL = {"data_pool", *CARD, "train_model", *AFTER_A_TRAINING}
CODE = ("import annotations\n", "import annotations\n\nNEW = 1\n")  # (old, new): an edit of any module
# What is edited in a copy of the repository: (file, old, new), and the rules that then run.
EDITS = {
    "a comment": ("src/egpo/methods/weights.py", "\n@dataclass", "\n# Reworded.\n@dataclass", set()),
    "a script": ("workflow/scripts/train.py", '"""One training', '"""Just one training', set()),
    "how a training is watched": ("src/egpo/training/launch.py", *CODE, set()),
    "a limit": ("small.yaml", "    minutes: 20\n", "    minutes: 30\n", set()),
    "no more milestones": (
        "small.yaml",
        "  milestones: 1\n",
        "  milestones: 0\n",
        {*TABLES, *FIGURES, "ceilings", "report", "all"} - BY_STEP,
    ),
    "milestones at other steps": (
        "small.yaml",
        "  milestones: 1\n",
        "  milestones: 2\n",
        {"train_model", *AFTER_A_TRAINING, "ceilings"},
    ),
    "a tracker": ("small.yaml", "trackers:\n- tensorboard\n", "trackers:\n- wandb\n", set()),
    "how trainings are tracked": ("src/egpo/verl_plugin/tracking.py", *CODE, set()),
    "a schema's description": (
        "src/egpo/config/training.py",
        'description="Responses',
        'description="All responses',
        set(),
    ),
    "the wording of a message": ("src/egpo/config/messages.py", *CODE, set()),
    "a command": ("src/egpo/cli/status/page.py", *CODE, set()),
    "a figure": ("src/egpo/report/figures/learning_curve.py", *CODE, {"learning_curve", "report", "all"}),
    "a table's layout": ("src/egpo/report/tables/accuracy.py", *CODE, {"table1", *OVERVIEW, "report", "all"}),
    "the card of the data": ("src/egpo/data/card.py", *CODE, CARD),
    "the text of the funnel": ("src/egpo/data/funnel.py", *CODE, CARD),
    "the note": (
        "small.yaml",
        "these numbers mean nothing",
        "these numbers mean little",
        {*CARD, *TABLES, *FIGURES, "ceilings"},
    ),
    "a method's setting": (
        "config/methods.yaml",
        "\negpo:\n",
        "\negpo:\n  clip_ratio_low: 0.19\n",
        {"train_model", "method_figure", "ceilings", *AFTER_A_TRAINING},
    ),
    "the advantage": ("src/egpo/methods/advantage.py", *CODE, {"train_model", "method_figure", *AFTER_A_TRAINING}),
    "the CPU platform": ("src/egpo/verl_plugin/cpu/worker.py", *CODE, {"train_model", *AFTER_A_TRAINING}),
    "a benchmark": (
        "small.yaml",
        "num_fewshot: 0",
        "num_fewshot: 1",
        {"benchmark_make", "benchmark_questions", "score_references", "ceilings", *AFTER_THE_POOL},
    ),
    "a filter of the data": ("src/egpo/data/filters.py", *CODE, AFTER_THE_POOL),
    "the strata": ("src/egpo/data/sample.py", *CODE, AFTER_THE_POOL),
    "how rollouts are made": (
        "src/egpo/uncertainty/rollouts.py",
        *CODE,
        {"roll_out", "measure_rollouts", "table3", "case_study", "claims", "entropy_figures", "report", "all"},
    ),
    "the size of a shard": (
        "small.yaml",
        "problems_per_shard: 4",
        "problems_per_shard: 3",
        {"roll_out", "measure_rollouts", *TABLES, *FIGURES, "ceilings", "report", "all"},
    ),
    "the generators": (
        "src/egpo/synthetic/standin.py",
        *CODE,
        {"data_standin", *AFTER_THE_POOL},
    ),
}


def copy_if_there(source: str, target: str) -> None:
    """Other tests' runs of Snakemake, beside this one, remove files of theirs."""
    with suppress(FileNotFoundError):
        shutil.copy2(source, target)


@pytest.fixture(scope="module")
def finished_copy(configuration, tmp_path_factory) -> Path:
    """The repository's files with this experiment's results, as they are after a run in there."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("Snakefile", "rules", "workflow", "src", "config", "profiles"):
        source = ROOT / name
        shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy(source, copy)
    metadata = Path(".snakemake", "metadata")
    shutil.copytree(ROOT / metadata, copy / metadata, copy_function=copy_if_there)
    shutil.copytree(RESULTS, copy / "results" / NAME, ignore=shutil.ignore_patterns("work"))
    shutil.copy(configuration, copy / "small.yaml")
    return copy


def snakemake(copy: Path, *arguments: str) -> str:
    """What Snakemake prints in the copy, with the copy's code."""
    command = [small_experiment.SNAKEMAKE, *arguments, "--configfile", "small.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rules_to_run(copy: Path) -> set[str]:
    return set(re.findall(r"^(?:local)?rule (\w+):", snakemake(copy, "-n", "all"), flags=re.MULTILINE))


def edited(copy: Path, edits: Iterable[str]) -> dict[Path, str]:
    """Make the edits of these names in the copy; the texts of the files before."""
    before: dict[Path, str] = {}
    for name, old, new, _ in (EDITS[edit] for edit in edits):
        file = copy / name
        text = file.read_text()
        assert old in text, f"{name} holds no {old!r}"
        before.setdefault(file, text)
        file.write_text(text.replace(old, new, 1))
    return before


# All edits that run nothing again are made at once: each dry run takes seconds.
TOGETHER = [
    [name for name, edit in EDITS.items() if not edit[3]],
    *([name] for name, edit in EDITS.items() if edit[3]),
]


@pytest.mark.parametrize("edits", TOGETHER, ids=", ".join)
def test_what_an_edit_runs_again(finished_copy, edits):
    before = edited(finished_copy, edits)
    try:
        assert rules_to_run(finished_copy) == EDITS[edits[0]][3]
    finally:
        for file, text in before.items():
            file.write_text(text)


def test_reordered_methods_run_no_model_again(finished_copy, tmp_path):
    """The order of the methods decides the rows of tables, and nothing else: not what is claimed, nor what is trained.

    The second method's results are a copy of the first's, and Snakemake is told to take them for finished.
    """
    copy = tmp_path / "copy"
    shutil.copytree(finished_copy, copy)
    for folder in ("train", "evaluate", "uncertainty"):
        shutil.copytree(*(copy / "results" / NAME / folder / "minute" / method for method in ("egpo", "grpo")))
    values = yaml.safe_load((copy / "small.yaml").read_text())
    for methods in (["grpo", "egpo"], ["egpo", "grpo"]):
        (copy / "small.yaml").write_text(yaml.safe_dump(values | {"methods": methods}))
        if methods[0] == "grpo":
            snakemake(copy, "--touch", "--cores", "1", "all")
            assert rules_to_run(copy) == set()
    assert rules_to_run(copy) == {*TABLES, *FIGURES, "ceilings", "report", "all"}
