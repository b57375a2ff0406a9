"""The entries of the report: each is made from its inputs alone; the report does not depend on the order of methods."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from report_inputs import small_catalogue, write_results

from egpo.analysis.labels import label
from egpo.common.paths import BASE, ROOT, Paths
from egpo.common.provenance import modules
from egpo.config.backbones import SupervisedWarmUp
from egpo.config.matrix import trained_models
from egpo.report.entries import ENTRIES, INPUTS, SETTINGS, Entry, entries_of
from egpo.report.figures.style import WIDTH
from egpo.report.glance import glance
from egpo.report.model_card import model_card
from egpo.report.page import html
from egpo.report.tables.warm_up import write_warm_up

CATALOGUE = small_catalogue()
PASS_RATES = {"before": 0.01, "after": 0.4}
PATHS = Paths(CATALOGUE.experiment.experiment)
WATCHED = ("config", "results", "workflow")  # folders of the repository, or of the working directory
OPENED: list[str] | None = None  # names of files, while they are watched


def _watch(event: str, arguments: tuple) -> None:
    if event == "open" and OPENED is not None and isinstance(arguments[0], str):
        OPENED.append(arguments[0])


sys.addaudithook(_watch)


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """What Python opens in the test. Arrow opens files by itself: it finds only what is in the folder."""
    global OPENED
    OPENED = []
    yield OPENED
    OPENED = None


def files_of(entry: Entry) -> list[Path]:
    """All its inputs."""
    found = entry.input_files(CATALOGUE, PATHS).values()
    return [file for files in found for file in (files.values() if isinstance(files, dict) else [files])]


def write(entry: Entry, catalogue=CATALOGUE) -> None:
    entry.write(entry.given(catalogue), entry.input_files(catalogue, PATHS), entry.folder(PATHS))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A folder with the made-up results and everything that the entries make from them."""
    folder, before = tmp_path_factory.mktemp("whole"), Path.cwd()
    for name in ("config", "workflow"):
        shutil.copytree(ROOT / name, folder / name)
    os.chdir(folder)
    write_results(CATALOGUE)
    for entry in entries_of(CATALOGUE):
        write(entry)
    os.chdir(before)
    return folder


@pytest.mark.parametrize("name", [entry.name for entry in entries_of(CATALOGUE)])
def test_an_entry_reads_its_inputs_and_nothing_else(whole, tmp_path, monkeypatch, opened, name):
    """In a folder that holds nothing but its inputs it makes the same files."""
    entry = ENTRIES[name]
    for file in files_of(entry):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole / file, tmp_path / file)
    monkeypatch.chdir(tmp_path)
    inputs = {file.resolve() for file in files_of(entry)}
    write(entry)
    outputs = entry.files(CATALOGUE, PATHS)
    written = {file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file()}
    assert written == {*outputs, *files_of(entry)}
    for file in outputs:
        assert file.read_bytes() == (whole / file).read_bytes(), file
    folders = [base / folder for base in (ROOT, tmp_path) for folder in WATCHED]
    read = {Path(file).resolve() for file in opened if any(Path(file).resolve().is_relative_to(f) for f in folders)}
    own = {file for file in read if file.parent == entry.folder(PATHS).resolve()}  # under their temporary names
    assert read - own <= inputs


def test_the_page_holds_everything(whole):
    page = (whole / PATHS.root / "report.html").read_text()
    figures = [file for entry in entries_of(CATALOGUE, "figures") for file in entry.files(CATALOGUE, PATHS)]
    assert page.count("data:image/png;base64,") == sum(file.suffix == ".png" for file in figures) > 6
    for name in ("run", "data", "training", "results", "entropy", "claims", "audit", "lineage"):
        assert f'<h2 id="{name}">' in page
    assert "Follow a number" in page and "prints 200" in page
    assert page.count("<td>c0de</td>") == 1 + 14 + 17 + 15  # data, trainings, evaluations, rollouts


def test_what_is_apart_is_said_outside_the_folded_table(whole):
    page = (whole / PATHS.root / "report.html").read_text()
    note, table = page.index("differ by up to 0.300 nats"), page.index("<summary>What verl measured</summary>")
    assert page[:note].rindex('<p class="note">') > page[:note].rindex("</div>") and note < table
    mine = [model for model in trained_models(CATALOGUE.experiment) if model[1] == CATALOGUE.experiment.main_method]
    assert page[:table].count("differ by up to 0.300 nats") == len(mine) > 0


def test_pictures_come_before_tables_and_have_one_width(whole):
    page = (whole / PATHS.root / "report.html").read_text()
    for section in page.split('<h2 id="')[1:]:
        name = section.split('"')[0]
        assert "<table" not in section[: section.rfind("<figure>") + 1], name
    assert "figure img { width: 100%;" in page and " width=" not in page
    for file in (whole / PATHS.figures).glob("*.png"):
        assert int.from_bytes(file.read_bytes()[16:20]) == 200 * WIDTH, file.name


@pytest.mark.parametrize(
    ("cell", "whole"),
    [
        ("0.58 [0.51, 0.65]", ["0.58 [0.51, 0.65]"]),
        ("gap +0.015 [+0.003, +0.028], of all that is known", ["+0.015 [+0.003, +0.028]"]),
        ("**40.00** [38.1, 42.0]", ["[38.1, 42.0]"]),
        ("25.0 (5.0 to 50.0)", ["25.0 (5.0 to 50.0)"]),
        ("-395.95 to +420.95", ["-395.95 to +420.95"]),
        ("37.50 (+12.50)", ["37.50 (+12.50)"]),
        ("a long text [with brackets, and a comma]", []),
    ],
)
def test_an_interval_in_a_table_stays_on_one_line_and_a_text_does_not(cell, whole):
    made = html(f"Text with 1.0 [0.5, 1.5].\n\n| a | b |\n| --- | --- |\n| x | {cell} |\n")
    assert re.findall('<span class="whole">(.*?)</span>', made) == whole
    style = (ROOT / "workflow" / "report" / "page.html").read_text()
    assert ".whole { white-space: nowrap; }" in style and "td { white-space" not in style


def test_no_interval_of_the_page_can_wrap(whole):
    page = (whole / PATHS.root / "report.html").read_text()
    cells = [re.sub('<span class="whole">.*?</span>', "", cell) for cell in re.findall("<td.*?</td>", page)]
    assert not [cell for cell in cells if re.search(r"\[[-+\d.]+, [-+\d.]+\]|\d to [-+]?\d|\d \([-+]\d", cell)]


def test_what_could_be_found_is_of_the_main_method_and_other_methods(whole):
    file = whole / PATHS.tables / "comparisons.csv"
    rows = pd.read_csv(file)
    mine = rows[(rows["first"] == "egpo") & rows["second"].isin(["grpo", "dapo"])]["smallest"]
    assert rows["smallest"].min() < mine.min()
    high = "over 100" if math.isinf(mine.max()) else f"{mine.max():.1f}"
    said = f"a difference between EGPO and another method must be {mine.min():.1f} to {high} points."
    assert said in glance(CATALOGUE, file)[-1]


def test_the_first_words_have_the_result_on_each_backbone(whole):
    file = whole / PATHS.tables / "comparisons.csv"
    rows = pd.read_csv(file)
    said = dict(zip(CATALOGUE.experiment.backbones, glance(CATALOGUE, file)[1:-1], strict=True))
    for backbone, text in said.items():
        mine = rows[(rows["backbone"] == backbone) & (rows["first"] == "egpo") & rows["second"].ne("c1")]
        for second, other in (("base", "the base"), ("grpo", "GRPO"), ("dapo", "DAPO")):
            assert f"{mine.loc[mine['second'] == second, 'difference'].mean():+.1f} points against {other}" in text
        found = mine.loc[mine["p_holm"] < 0.05, "difference"]
        counts = f"{(found > 0).sum()} above 0 and {(found < 0).sum()} below" if len(found) else "none"
        assert text.endswith(f"of 6 differences on single benchmarks: {counts}.")


def test_every_input_and_setting_is_of_some_entry():
    assert {name for entry in ENTRIES.values() for name in entry.inputs} == set(INPUTS)
    assert {name for entry in ENTRIES.values() for name in entry.settings} == set(SETTINGS)


@pytest.mark.parametrize("name", ENTRIES)
def test_the_list_is_no_part_of_the_code_of_an_entry(name):
    """Else an edit of one entry would run all of them again."""
    assert "report/entries.py" not in modules(ENTRIES[name].code)


def test_an_edit_of_one_module_counts_for_its_entry_alone():
    def depending(module: str) -> set[str]:
        return {name for name, entry in ENTRIES.items() if module in modules(entry.code)}

    assert depending("report/figures/learning_curve.py") == {"learning_curve"}
    assert depending("report/tables/accuracy.py") == {"table1", "table2"}
    tables = {entry.name for entry in ENTRIES.values() if entry.kind == "tables"}
    assert depending("report/document.py") == tables
    assert depending("report/page.py") == {"report"}


def test_sections_that_an_experiment_lacks_have_no_entries():
    names = {entry.name for entry in entries_of(small_catalogue(ablations=None, uncertainty=None))}
    assert set(ENTRIES) - names == {"table2", "table3", "case_study", "entropy_figures", "warm_up"}
    without = small_catalogue(backbones=["tiny-math"], ablations=None)
    assert not any("parts" in file.name for file in ENTRIES["entropy_figures"].files(without, PATHS))


def test_the_page_on_a_warm_up_has_both_measurements_and_five_responses(tmp_path):
    backbone = CATALOGUE.backbones["tiny-math"]
    sets = ({"path": "worked.jsonl"},)
    settings = SupervisedWarmUp.model_validate({"sets": sets, "steps": 1, "batch_size": 1, "learning_rate": 1e-4})
    warmed = backbone.model_copy(update={"warm_up": settings})
    catalogue = CATALOGUE.model_copy(update={"backbones": {**CATALOGUE.backbones, "tiny-math": warmed}})
    assert "warm_up" in {entry.name for entry in entries_of(catalogue, "tables")}
    assert label(catalogue, "tiny-math", BASE).endswith("(warmed up)")
    shares = {"mixed": 0.25, "entirely_correct": 0.0, "entirely_incorrect": 0.75}
    shown = [{"problem": f"p{n}", "answer": "7", "response": "```", "after": f"after {n}"} for n in range(6)]
    manifest = {"examples": 12, "responses": shown, **{w: {"pass_rate": r, **shares} for w, r in PASS_RATES.items()}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    write_warm_up(catalogue, {"tiny-math": tmp_path / "manifest.json"}, tmp_path)
    page = (tmp_path / "warm_up.md").read_text()
    assert f"| {backbone.label} | 12 | before | 0.01 | 0.25 | 0.00 | 0.75 |" in page and "| after | 0.40 |" in page
    assert "after 4" in page and "after 5" not in page


def test_a_model_card_shows_what_its_own_training_used(whole):
    """Keys of `by_backbone` and further settings of verl too."""
    overrides = {"actor_rollout_ref.actor.grad_clip": 0.5}
    catalogue = small_catalogue(by_backbone={"tiny-math": {"training": {"save_freq": 3, "overrides": overrides}}})
    others = (CATALOGUE.experiment.training.save_freq, {})
    for backbone, expected in (("tiny-math", (3, overrides)), ("tiny-think", others)):
        records = whole / PATHS.evaluation(backbone, "egpo", 1) / "records.parquet"
        card = model_card(catalogue, (backbone, "egpo", 1), records, Path("verl.yaml"))
        shown = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])["training"]
        assert (shown["save_freq"], shown["overrides"]) == expected


def claims_of(folder: Path) -> list[tuple]:
    """Claims with their numbers, in an order of their own."""
    table = pd.read_csv(folder / PATHS.tables / "claims.csv")
    numbers = table["numbers"].str.split(", ").map(sorted).map(tuple)
    return sorted(zip(table["section"], table["says"], table["verdict"], numbers, strict=True))


def test_the_order_of_methods_changes_neither_claims_nor_case_study(whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    other = small_catalogue(methods=["egpo", "dapo", "grpo"])
    for name in ("comparisons", "claims", "case_study"):
        for file in ENTRIES[name].files(other, PATHS):
            file.unlink()
        write(ENTRIES[name], other)
    assert claims_of(tmp_path) == claims_of(whole)
    assert (tmp_path / PATHS.tables / "case_study.md").read_text() == (
        whole / PATHS.tables / "case_study.md"
    ).read_text()
