"""Models on the way of a training: their steps, their files, and accuracy by step from made-up results."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from omegaconf import DictConfig, OmegaConf, open_dict
from PIL import Image
from report_inputs import small_catalogue, write_results
from small_runs import small

from egpo.common.errors import UserError
from egpo.common.paths import Paths
from egpo.config.experiment import Catalogue
from egpo.config.loader import load
from egpo.config.matrix import evaluated_milestones, milestone_benchmarks, milestone_steps
from egpo.report.entries import ENTRIES
from egpo.training import checkpoints, export
from egpo.training.launch import train
from egpo.training.limits import Limits
from egpo.training.prepare import prepare

# --- steps and benchmarks ------------------------------------------------------------------------------


def demo_with(demo: dict, steps: int, milestones: int) -> Catalogue:
    demo["training"] |= {"total_training_steps": steps, "milestones": milestones, "save_freq": 1}
    return load(demo, "demo.yaml")


@pytest.mark.parametrize(
    ("steps", "count", "expected"),
    [(28, 2, (9, 19)), (770, 4, (154, 308, 462, 616)), (4, 1, (2,)), (5, 4, (1, 2, 3, 4)), (28, 0, ())],
)
def test_milestones_are_spread_evenly_between_start_and_end(demo, steps, count, expected):
    assert milestone_steps(demo_with(demo, steps, count).experiment) == expected


def test_every_possible_number_of_milestones_has_as_many_steps(demo):
    experiment = demo_with(demo, 30, 1).experiment
    for count in range(1, 30):
        training = experiment.training.model_copy(update={"milestones": count})
        steps = milestone_steps(experiment.model_copy(update={"training": training}))
        assert len(set(steps)) == count and steps[0] >= 1 and steps[-1] < 30 and list(steps) == sorted(steps)


def test_the_steps_of_epochs_are_those_of_the_quotas(demo):
    demo["training"] |= {"total_training_steps": None, "total_epochs": 2, "milestones": 1}
    experiment = load(demo, "demo.yaml").experiment
    assert milestone_steps(experiment) == ((1000 - 64) // 32,)


def test_milestones_have_their_own_benchmarks_and_seeds():
    catalogue = small_catalogue()
    evaluation = catalogue.experiment.evaluation
    assert (evaluation.seeds, evaluation.of_milestones.seeds) == ((1, 2), (1,))
    assert milestone_benchmarks(catalogue.experiment, "egpo") == ("one", "two")
    assert milestone_benchmarks(catalogue.experiment, "c1") == ("one",)
    chosen = small_catalogue(evaluation={**evaluation.model_dump(), "milestones": {"benchmarks": ["two"]}}).experiment
    assert chosen.evaluation.of_milestones.seeds == (1, 2)
    assert milestone_benchmarks(chosen, "egpo") == ("two",)
    assert {method for _, method, _, _ in evaluated_milestones(chosen)} == {"grpo", "dapo", "egpo"}  # not c1


def test_without_milestones_nothing_is_dumped_that_was_not_before(demo):
    """Finished jobs are compared with dumps: a key that is new must not run them again."""
    demo["training"]["milestones"], demo["evaluation"]["milestones"] = 0, {}
    experiment = load(demo, "demo.yaml").experiment
    assert "milestones" not in experiment.training.model_dump()
    assert "milestones" not in experiment.evaluation.model_dump(mode="json")
    assert evaluated_milestones(experiment) == []


# --- files ---------------------------------------------------------------------------------------------


def write_checkpoint(config: DictConfig, step: int) -> None:
    """Files where verl writes a checkpoint's model."""
    folder = checkpoints.folder_of(config.trainer.default_local_dir, step) / "actor" / "huggingface"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text(f"weights of step {step}")
    (folder / "config.json").write_text('{"_attn_implementation": "packed", "hidden_size": 8}')


@pytest.fixture
def config(inputs, tmp_path) -> DictConfig:
    """Of a training of ten steps, with milestones."""
    config = small(inputs, tmp_path, "egpo", total_training_steps=10)
    with open_dict(config):
        config.egpo_run.milestones = [3, 7]
    return config


def kept(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "milestones").iterdir())


def test_a_milestone_is_whole_or_not_there(config, tmp_path, monkeypatch):
    write_checkpoint(config, 3)
    monkeypatch.setattr(export, "_forget_attention", lambda file: 1 / 0)  # a mock of an attempt that dies
    with pytest.raises(ZeroDivisionError):
        export.export_milestone(config, 3)
    assert kept(tmp_path) == [".step-3.part"]
    monkeypatch.undo()
    export.export_milestone(config, 3)
    assert kept(tmp_path) == ["step-3"]
    assert (tmp_path / "milestones/step-3/model.safetensors").read_text() == "weights of step 3"
    assert "attn" not in (tmp_path / "milestones/step-3/config.json").read_text()
    assert (tmp_path / "milestones/step-3/tokenizer.json").exists()


def test_a_resumed_training_keeps_the_milestones_before_it_and_repeats_the_others(config, tmp_path):
    work, said = tmp_path / "work", []
    assert prepare(config, work, said.append) == 0
    for step in (3, 7):
        write_checkpoint(config, step)
        export.export_milestone(config, step)
    checkpoints.mark_complete(work / "checkpoints", 3)  # killed before 7 counted
    export.mark_milestones(tmp_path, [3, 7])
    assert prepare(config, work, said.append) == 3
    assert kept(tmp_path) == ["step-3", "step-3.json"] and said == ["resuming after step 3"]


@pytest.mark.parametrize(("steps", "anew"), [([3], False), ([], False), ([3, 8], False), ([2, 3], True), ([5], True)])
def test_other_milestones_train_anew_only_where_a_model_was_not_kept(config, tmp_path, steps, anew):
    work, said = tmp_path / "work", []
    prepare(config, work, said.append)
    write_checkpoint(config, 3)
    export.export_milestone(config, 3)
    write_checkpoint(config, 6)
    for step in (3, 6):
        checkpoints.mark_complete(work / "checkpoints", step)
    config.egpo_run.milestones = steps
    assert prepare(config, work, said.append) == (0 if anew else 6)
    assert kept(tmp_path) == ([] if anew else ["step-3"])
    assert checkpoints.complete_steps(tmp_path / "work.old-1" / "checkpoints") == ([3, 6] if anew else [])
    assert any("as training.milestones now asks for: starting anew" in line for line in said) == anew


def test_milestones_after_the_last_step_of_the_data_are_refused(config, tmp_path):
    config.egpo_run.milestones = [3, 10]
    with pytest.raises(UserError, match=r"training\.milestones: .* after step 10, .* has 10 steps"):
        train(config, tmp_path, tmp_path / "work", Limits(1, 1, 1), print)


def test_steps_survive_verls_file_of_settings(config, tmp_path):
    OmegaConf.save(config, tmp_path / "verl.yaml", resolve=True)
    assert export.milestones(OmegaConf.load(tmp_path / "verl.yaml")) == (3, 7)
    assert export.milestones(small(tmp_path, tmp_path, "egpo")) == ()


# --- accuracy by step ------------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path, monkeypatch) -> Paths:
    """The table and the figure of a made-up experiment, and its Table 1."""
    monkeypatch.chdir(tmp_path)
    catalogue = small_catalogue()
    write_results(catalogue)
    paths = Paths(catalogue.experiment.experiment)
    paper = tmp_path / "config" / "paper-numbers.yaml"
    paper.parent.mkdir()
    paper.write_text((Path(__file__).parents[1] / "config" / "paper-numbers.yaml").read_text())
    for name in ("table1", "accuracy_by_step", "accuracy_by_step_figure"):
        entry = ENTRIES[name]
        entry.write(entry.given(catalogue), entry.input_files(catalogue, paths), entry.folder(paths))
    return paths


def test_the_ends_are_those_of_table_1_and_the_middle_is_of_the_milestones(made):
    table, table1 = (pd.read_csv(made.tables / f"{name}.csv") for name in ("accuracy_by_step", "table1"))
    mine = table[(table["backbone"] == "tiny-math") & (table["method"] == "egpo") & (table["benchmark"] == "two")]
    assert mine["step"].tolist() == [0, 5, 11, 16]
    assert mine["n_trials"].tolist() == [2, 1, 1, 2] and mine["n_training_seeds"].tolist() == [1, 2, 2, 2]
    numbers = ["accuracy", "se", "low", "high"]
    for name, row in (("base", 0), ("egpo", -1)):
        expected = table1[
            (table1["backbone"] == "tiny-math") & (table1["method"] == name) & (table1["benchmark"] == "two")
        ]
        assert mine[numbers].iloc[row].tolist() == pytest.approx(expected[numbers].iloc[0].tolist(), nan_ok=True)
    between = mine[mine["step"].isin([5, 11])]
    assert ((between["low"] <= between["accuracy"]) & (between["accuracy"] <= between["high"])).all()


def test_page_and_figure(made):
    page = (made.tables / "accuracy_by_step.md").read_text()
    assert (
        "| Benchmark | Method | step 0 | step 5 | step 11 | step 16 |" in page
        and "Trials of each question: 1 or 2." in page
    )
    assert min(Image.open(made.figures / "accuracy_by_step.png").size) > 500
