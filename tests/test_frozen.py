"""A plan that is frozen before a run, and what the page of claims says of it afterwards."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml
from report_inputs import small_catalogue, write_results

from egpo.analysis.frozen import deviations
from egpo.analysis.frozen import freeze as plan_of
from egpo.cli.check import check, load_checked
from egpo.cli.freeze import freeze
from egpo.cli.main import main
from egpo.common import provenance
from egpo.common.errors import UserError
from egpo.common.paths import ROOT, Paths
from egpo.config.files import read_yaml
from egpo.config.frozen import Frozen
from egpo.report.entries import ENTRIES

CATALOGUE = small_catalogue()


@pytest.fixture
def plan(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert freeze(CATALOGUE, tmp_path / "claims.yaml") == 0
    return tmp_path / "claims.yaml"


def read(file: Path) -> Frozen:
    return Frozen.model_validate(read_yaml(file))


def test_a_plan_names_what_is_compared_and_what_would_count(plan):
    frozen = read(plan)
    assert frozen.hash == frozen.content_hash()
    expected = {(one.first, one.second): one.expected for one in frozen.comparisons if one.backbone == "tiny-think"}
    assert expected["egpo", "grpo"] == expected["egpo", "base"] == "above"
    assert expected["c1", "egpo"] == "below" and expected["dapo", "grpo"] == "different"
    assert frozen.training_seeds == (1, 2) and frozen.trials == 2
    assert deviations(frozen, CATALOGUE) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training_seeds": [1]}, "training_seeds: 2 were planned, 1 were run"),
        ({"methods": ["grpo", "egpo"]}, "not run: egpo against dapo on tiny-math"),
        ({"methods": ["grpo", "dapo", "egpo", "c5"]}, "not planned, and so exploratory: egpo against c5"),
        ({"scored_by": "verifier"}, "scored_by: evalscope was planned, verifier was run"),
    ],
)
def test_what_was_done_otherwise_is_named(plan, changes, words):
    assert any(words in text for text in deviations(read(plan), small_catalogue(**changes)))


def test_another_machine_is_no_deviation(plan):
    jobs = {"train": {"minutes": 9999, "cpus": 1, "memory_gib": 3}}
    assert deviations(read(plan), small_catalogue(jobs=jobs, note="another note", trackers=["wandb"])) == []


def test_a_method_that_means_something_else_is_a_deviation(plan):
    changed = CATALOGUE.methods["egpo"].model_copy(update={"clip_ratio_high": 0.3})
    other = CATALOGUE.model_copy(update={"methods": {**CATALOGUE.methods, "egpo": changed}})
    assert deviations(read(plan), other) == ["of_methods.egpo.clip_ratio_high: 0.2 was planned, 0.3 was run"]


def test_an_edit_after_the_freezing_is_noticed(plan):
    values = yaml.safe_load(plan.read_text())
    values["comparisons"][0]["expected"] = "below"
    edited = Frozen.model_validate(values)
    assert "edited after it was frozen" in deviations(edited, CATALOGUE)[0]


def test_a_plan_is_not_replaced_nor_made_afterwards(plan, tmp_path):
    with pytest.raises(UserError, match="is there already"):
        freeze(CATALOGUE, plan)
    write_results(CATALOGUE)
    with pytest.raises(UserError, match="have been evaluated already"):
        freeze(CATALOGUE, tmp_path / "late.yaml")


@pytest.mark.parametrize(
    ("model", "late"),
    [
        ("tiny-think/c1/seed-1", True),
        ("tiny-math/egpo/seed-77", True),
        ("tiny-math/egpo/seed-1/step-5", True),
        ("tiny-math/base/seed-0", False),
    ],
)
def test_any_evaluation_of_a_trained_model_makes_a_plan_late(model, late, tmp_path, monkeypatch):
    """Also one of an ablation, of a seed that was taken out, or on the way of a training."""
    monkeypatch.chdir(tmp_path)
    records = Paths("made-up").root / "evaluate" / model / "records.parquet"
    records.parent.mkdir(parents=True)
    records.touch()
    with pytest.raises(UserError, match="evaluated already") if late else contextlib.nullcontext():
        freeze(CATALOGUE, tmp_path / "late.yaml")


def test_a_plan_is_written_to_the_current_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for more in ([], ["--out", "other.yaml"]):
        assert main(["freeze", *more, "--config", "experiment=never-run"]) == 0
    assert {file.name for file in tmp_path.iterdir()} == {"claims.yaml", "other.yaml"}
    assert f"claims: {tmp_path / 'other.yaml'}" in capsys.readouterr().out


def test_an_edit_of_a_custom_function_of_weights_is_a_deviation(tmp_path):
    file = tmp_path / "weights.py"
    file.write_text("def mine(entropies, correct, groups):\n    return entropies\n")
    entry = {"label": "Mine", "calibration": {"weight": f"{file}:mine"}}
    define = CATALOGUE.experiment.define.model_dump() | {"methods": {"mine": entry}}
    catalogue = small_catalogue(methods=["grpo", "egpo", "mine"], define=define)
    frozen = plan_of(catalogue, "2026-01-01")
    older = Frozen.model_validate(frozen.model_dump() | {"code_of_weights": None})
    older = older.model_copy(update={"hash": older.content_hash()})
    for text, changed in (("entropies  # all of them", False), ("2 * entropies", True)):
        file.write_text(f"def mine(entropies, correct, groups):\n    return {text}\n")
        provenance._read.cache_clear()
        provenance.code_version.cache_clear()
        found = deviations(frozen, catalogue)
        assert [one.split(":")[0] for one in found] == (["code_of_weights.mine"] if changed else [])
        assert deviations(older, catalogue) == [], "an older plan says nothing of it"
    file.unlink()
    provenance._read.cache_clear()
    provenance.code_version.cache_clear()
    with pytest.raises(UserError, match=r"calibration\.weight: a file cannot be read"):
        plan_of(catalogue, "2026-01-01")


@pytest.mark.parametrize(("key", "value"), [("test", "another test"), ("level", 0.1)])
def test_another_test_or_level_is_a_deviation(plan, key, value):
    frozen = read(plan).model_copy(update={key: value})
    frozen = frozen.model_copy(update={"hash": frozen.content_hash()})
    (found,) = deviations(frozen, CATALOGUE)
    assert found.startswith(f"{key}: {value} was planned, ")


def test_the_plan_of_the_study_keeps_its_hash():
    """It was frozen before the study: what is added to plans must not change it."""
    frozen = read(ROOT / "docs" / "study" / "claims.yaml")
    assert frozen.hash == frozen.content_hash() == "a78c0c18d55584ef"
    assert deviations(frozen, load_checked(read_yaml(ROOT / "config" / "study.yaml"), "config/study.yaml")) == []


def claims_page(catalogue) -> str:
    paths = Paths(catalogue.experiment.experiment)
    for name in ("comparisons", "claims"):
        entry = ENTRIES[name]
        entry.write(entry.given(catalogue), entry.input_files(catalogue, paths), entry.folder(paths))
    return (paths.tables / "claims.md").read_text()


def test_the_page_of_claims_compares_plan_and_run(plan):
    Path("config").symlink_to(Path(__file__).parents[1] / "config")
    write_results(CATALOGUE)
    assert "No plan was frozen" in claims_page(CATALOGUE)
    planned = small_catalogue(claims=str(plan))
    assert "Run as planned." in claims_page(planned)
    changed = small_catalogue(claims=str(plan), scored_by="verifier")
    assert "otherwise in:" in claims_page(changed) and "- scored_by: evalscope was planned" in claims_page(changed)


def test_the_page_says_which_control_is_missing_and_where(plan):
    """Controls among the ablations are on their backbone alone."""
    Path("config").symlink_to(Path(__file__).parents[1] / "config")
    write_results(CATALOGUE)
    page = claims_page(CATALOGUE)
    both = "tiny-math (synthetic), tiny-think (synthetic)."
    for kind in ("random rewards (`random_reward`)", "shuffled answers (`shuffled_answers`)"):
        assert f"No control with {kind} was trained on {both}" in page
    ablated = {"backbone": "tiny-think", "methods": ["random_reward"], "benchmarks": ["one"]}
    controlled = small_catalogue(methods=["grpo", "egpo", "shuffled_answers"], ablations=ablated)
    write_results(controlled)
    page = claims_page(controlled)
    assert "random rewards (`random_reward`) was trained on tiny-math (synthetic). On Qwen" in page
    assert "No control with shuffled answers" not in page
    assert "| control | Control: GRPO, random rewards is below EGPO |" in page
    assert "| control | tiny-math (synthetic) + EGPO is above Control: GRPO, shuffled answers |" in page


def test_a_configuration_with_another_file_as_its_plan_is_refused(tmp_path):
    (tmp_path / "claims.yaml").write_text("frozen: today\n")
    with pytest.raises(UserError, match=r"(?s)claims: .*comparisons.*egpo freeze"):
        check(small_catalogue(claims=str(tmp_path / "claims.yaml")), "mine.yaml")
    with pytest.raises(UserError, match="there is no such file"):
        check(small_catalogue(claims="nowhere.yaml"), "mine.yaml")
