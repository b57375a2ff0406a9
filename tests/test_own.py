"""Own model, dataset, method, benchmark: what docs/own-experiments.md shows, as it stands there."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from chain import quiet
from omegaconf import OmegaConf
from small_runs import compose, make_inputs

from egpo.backbones.examples import read_worked
from egpo.common import provenance
from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.config.backbones import WorkedSet
from egpo.config.data import ProblemsSource
from egpo.config.loader import load
from egpo.config.methods import Calibration
from egpo.data.build import build
from egpo.data.card import write_card
from egpo.data.problem_files import worked_rows
from egpo.data.source import prepare
from egpo.methods.advantage import calibrate
from egpo.synthetic.problems import LEVELS, draw_problem

DOCS = (ROOT / "docs" / "own-experiments.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS, flags=re.DOTALL)


MODEL, WARM_UP, DATASET, SETS, METHOD, BENCHMARK, TRACKERS = (yaml.safe_load(block) for block in blocks("yaml"))
(FUNCTION,) = blocks("python")
ROW, QUESTION = (json.loads(block) for block in blocks("json"))
COMMANDS = re.findall(r"^    (\.venv/bin/.*)$", DOCS, flags=re.MULTILINE)


def problems(count: int) -> list[dict[str, str]]:
    """Different problems in the form of the row that the docs show."""
    rng, made = random.Random(5), {}
    while len(made) < count:
        problem = draw_problem(rng, "train", level=LEVELS[len(made) % len(LEVELS)])
        made[problem.text] = f"{' + '.join(map(str, problem.terms))} = {problem.answer}\n#### {problem.answer}"
    return [{"question": text, "answer": answer} for text, answer in made.items()]


def write_lines(file: Path, rows: list[dict]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, str]:
    """The paths that the docs name, and where they really are."""
    folder = tmp_path_factory.mktemp("own")
    make_inputs(folder)
    write_lines(folder / "problems" / "mine.jsonl", problems(400))
    write_lines(folder / "benchmark" / "test.jsonl", [QUESTION])
    write_lines(folder / "worked.jsonl", [{"problem": "Add 1 and 2.", "answer": "3", "worked": "1 + 2 = 3"}])
    (folder / "my_weights.py").write_text(FUNCTION)
    return {
        "/models/mine": str(folder / "model"),
        "/data/mine": str(folder / "problems"),
        "/data/worked.jsonl": str(folder / "worked.jsonl"),
        "/data/my-benchmark": str(folder / "benchmark"),
        "config/my_weights.py": str(folder / "my_weights.py"),
    }


def mine(demo: dict, places: dict[str, str], *changes: dict) -> dict:
    """A copy of config/demo.yaml with the keys of the docs changed, as a user would."""
    values = demo | {"experiment": "mine"}
    for change in changes:
        values = {**values, **change}
        values["define"] = {**demo.get("define", {}), **{k: v for c in changes for k, v in c.get("define", {}).items()}}
        values["data"] = {**demo["data"], **{k: v for c in changes for k, v in c.get("data", {}).items()}}
    text = json.dumps(values)
    for shown, real in sorted(places.items(), key=lambda pair: -len(pair[0])):
        text = text.replace(shown, real)
    return json.loads(text)


# --- all four, as Snakemake plans them ---------------------------------------------------------------


def plan(command: str, file: Path) -> str:
    """Run a command of the docs on `file`, a plan in place of jobs."""
    words = shlex.split(command.replace("config/mine.yaml", str(file)))
    if "snakemake" in words[0] and "-n" not in words:
        words.append("-n")
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


@pytest.fixture(scope="module")
def everything(places, tmp_path_factory) -> Path:
    demo = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    file = tmp_path_factory.mktemp("config") / "mine.yaml"
    file.write_text(yaml.safe_dump(mine(demo, places, MODEL, METHOD, BENCHMARK, DATASET)))
    return file


PLANNED = {
    "egpo check": [],
    "-n all": [
        "train/my-model/my-method/seed-1/manifest.json",
        "evaluate/another/base/seed-0/manifest.json",
        "benchmarks/my-questions.questions.jsonl",
        "data/train.parquet",
    ],
    "data --configfile": ["source/manifest.json", "data/train.parquet"],
    "my-method --configfile": ["evaluate/my-model/my-method/seed-1/manifest.json"],
    "my-questions.questions.jsonl --configfile": ["benchmarks/my-questions.questions.jsonl"],
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.removeprefix(".venv/bin/"))
def test_every_command_of_the_docs_does_what_it_says(command, everything):
    (expected,) = [files for part, files in PLANNED.items() if part in command]
    text = plan(command, everything)
    assert all(f"results/mine/{file}" in text for file in expected), text


# --- a model ---------------------------------------------------------------------------------------


def test_an_own_model_is_trained_and_another_evaluated(demo, places):
    catalogue = load(mine(demo, places, MODEL), "mine.yaml")
    assert catalogue.experiment.backbones == ("my-model",)
    assert str(catalogue.backbones["my-model"].source.path) == places["/models/mine"]
    assert catalogue.backbones["another"].source.repo == "owner/name"
    folder = MODEL | {"extra_models": {"another": {"model": "/models/mine", "like": "my-model"}}}
    assert load(mine(demo, places, folder), "mine.yaml").backbones["another"].source.kind == "local"


def test_a_warm_up_comes_before_the_trainings(demo, places, tmp_path):
    changed = json.loads(json.dumps(MODEL))
    changed["define"]["backbones"]["my-model"] |= WARM_UP["define"]["backbones"]["my-model"]
    del changed["extra_models"]
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(mine(demo, places, changed)))
    text = plan(".venv/bin/snakemake -n train --configfile config/mine.yaml", file)
    assert "results/mine/backbones/my-model/warm/manifest.json" in text
    examples = read_worked(load(yaml.safe_load(file.read_text()), "mine.yaml").backbones["my-model"].warm_up, quiet)
    assert examples[-1].response == "1 + 2 = 3\n\\boxed{3}" and len(examples) == 401


# --- a dataset -------------------------------------------------------------------------------------

QUESTIONS = {"my-questions": "What is the largest prime number below 50?"}


@pytest.fixture(scope="module")
def built(places, tokenizer_folder, tmp_path_factory) -> Path:
    """The pool of the docs' dataset with some bad rows among it, against the docs' benchmark."""
    folder = tmp_path_factory.mktemp("pool")
    rows = problems(400)
    rows += [
        rows[0],  # twice
        {"question": rows[1]["question"], "answer": "#### 1000001"},  # another answer
        {"question": "Prove that the sum of two odd numbers is even.", "answer": "#### 2"},
        {"question": "How many birds are left on the roof?", "answer": None},
        {"question": f"${QUESTIONS['my-questions'].upper()}$", "answer": "#### 47"},
    ]
    return make_pool(rows, tokenizer_folder, folder)


def make_pool(rows: list[dict], tokenizer: Path, folder: Path) -> Path:
    write_lines(folder / "rows" / "mine.jsonl", rows)
    (folder / "questions.jsonl").write_text(json.dumps(QUESTIONS["my-questions"]) + "\n")
    demo = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    data = load(mine(demo, {"/data/mine": str(folder / "rows")}, DATASET), "mine.yaml").experiment.data
    prepare(data.source, folder / "source", quiet)
    questions = {"my-questions": folder / "questions.jsonl"}
    build(data, folder / "source", tokenizer, questions, folder / "data", 1, quiet)
    out = folder / "data"
    write_card(out / "flags.parquet", out / "manifest.json", out / "examples.json", "", out)
    return out


def test_an_own_dataset_becomes_a_pool(built):
    train, validation = (pd.read_parquet(built / f"{name}.parquet") for name in ("train", "validation"))
    assert (len(train), len(validation)) == (200 - 32, 32)
    assert len(pd.read_parquet(built / "heldout.parquet")) == 32
    right = {row["question"]: row["answer"].rpartition("#### ")[2] for row in problems(400)}
    for row in [*train.to_dict("records"), *validation.to_dict("records")]:
        asked = row["prompt"][0]["content"].splitlines()[0]
        assert row["reward_model"]["ground_truth"] == right[asked]
        assert (row["extra_info"]["bucket"], row["extra_info"]["source"]) == ("unknown", "mine")


def test_its_bad_rows_are_dropped_for_a_reason(built):
    flags = pd.read_parquet(built / "flags.parquet")
    reasons = flags["reason"].value_counts()
    assert len(flags) == 405
    assert reasons["duplicate-uuid"] == 1
    assert reasons["conflicting-answers"] == 2, "nobody knows which of the two is right"
    assert reasons["proof-wording"] == 1
    assert reasons["no-answer"] == 1
    assert reasons["contaminated"] == 1
    assert flags["few-generations"].all() and not reasons.get("few-generations"), "noted, and drops nothing"
    funnel = pd.read_csv(built / "funnel.csv")
    whole = funnel[funnel["subset"] == "all"]
    assert (whole["in"] == whole["dropped"] + whole["out"]).all() and whole["out"].iloc[-1] == 200
    assert "without generations" in (built / "README.md").read_text()


def test_the_order_of_its_rows_changes_nothing(built, tokenizer_folder, tmp_path):
    rows = [json.loads(line) for line in (built.parent / "rows" / "mine.jsonl").read_text().splitlines()]
    again = make_pool(rows[::-1], tokenizer_folder, tmp_path)
    for name in ("train", "validation", "heldout", "flags"):
        assert (again / f"{name}.parquet").read_bytes() == (built / f"{name}.parquet").read_bytes()


def test_parquet_and_numbers_are_read_too(tmp_path):
    from egpo.data.problem_files import rows

    pd.DataFrame({"problem": ["1 + 1", "2 + 3"], "answer": [2, 5]}).to_parquet(tmp_path / "a.parquet")
    write_lines(tmp_path / "b.jsonl", [{"problem": "1 / 2", "answer": 0.5, "more": [1]}])
    found = list(rows(ProblemsSource(kind="problems", path=tmp_path)))
    assert [(row["answer"], row["source"]) for row in found] == [("2", "a"), ("5", "a"), ("0.5", "b")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"problem": "1+1"}\n', "data.source.answer: 'answer' is not a column of"),
        ('{"problem": "1+1", "answer": [2]}\n', "answer [2] is neither text nor a number"),
        ('{"problem": "1+1", "answer": 2}\n{"problem"\n', "line 2 is not JSON"),
        ("[1, 2]\n", "line 1 is not a JSON object"),
    ],
)
def test_a_file_of_problems_that_is_wrong_says_where(content, expected, tmp_path):
    (tmp_path / "mine.jsonl").write_text(content)
    with pytest.raises(UserError, match=re.escape(expected)) as caught:
        prepare(ProblemsSource(kind="problems", path=tmp_path), tmp_path / "source", quiet)
    assert "mine.jsonl" in str(caught.value)


def test_several_sets_as_the_docs_show_them(demo, places):
    source = load(mine(demo, places, DATASET, SETS), "mine.yaml").experiment.data.source
    assert [(str(part.path or part.repo), part.on_hub) for part in source.parts] == [
        ("owner/stories", True),
        (places["/data/mine"], False),
    ]


@pytest.fixture
def dataset(tmp_path, monkeypatch) -> Path:
    """A folder in the layout of a dataset of the Hub, with two configurations and columns of their own."""
    folder = tmp_path / "dataset"
    for name, split in (("main", "train"), ("main", "test"), ("socratic", "train")):
        write_lines(folder / name / f"{split}.jsonl", [{"question": f"{name} {split} 1 + 1?", "answer": "... #### 2"}])
    cards = [
        {"config_name": name, "data_files": [{"split": split, "path": f"{name}/{split}.jsonl"} for split in splits]}
        for name, splits in (("main", ["train", "test"]), ("socratic", ["train"]))
    ]
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': cards})}---\n")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return folder


def read(**keys) -> list[tuple[str, str, str]]:
    from egpo.data.problem_files import rows

    found = rows(ProblemsSource.model_validate({"kind": "problems", **keys}))
    return [(row["problem"], row["answer"].strip(), row["source"]) for row in found]


COLUMNS = {"problem": "question", "answer_after": "####"}


def test_a_dataset_in_the_hubs_layout_is_read(dataset):
    place = {"repo": str(dataset), "name": "main", **COLUMNS}
    assert read(**place) == [("main train 1 + 1?", "2", "dataset")]
    assert read(**place, split="test", label="gsm8k") == [("main test 1 + 1?", "2", "gsm8k")]


def test_a_dataset_of_the_hub_is_asked_for_at_its_revision(dataset, monkeypatch):
    import datasets

    asked = []

    def load_dataset(*arguments, **keys):
        asked.append((arguments, keys))
        return [{"problem": "1 + 1?", "answer": 2}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert read(repo="owner/sums", name="main", revision="abc") == [("1 + 1?", "2", "sums")]
    assert asked == [(("owner/sums", "main"), {"split": "train", "revision": "abc"})]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"name": "maim"}, "BuilderConfig 'maim' not found"),
        ({}, "Config name is missing"),
        ({"name": "socratic", "split": "test"}, 'Unknown split "test"'),
    ],
)
def test_a_dataset_that_lacks_what_is_asked_for(keys, expected, dataset):
    with pytest.raises(UserError, match=re.escape(expected)) as caught:
        read(repo=str(dataset), **keys)
    assert "data.source.repo: cannot read the split" in str(caught.value)
    assert "Check repo, name, split and revision" in str(caught.value)


def test_a_missing_dataset_of_a_warm_up_is_named_by_its_own_key(dataset):
    part = WorkedSet(repo=str(dataset), name="maim", **COLUMNS)
    with pytest.raises(UserError, match=r"^warm_up\.sets\.repo: cannot read the split"):
        list(worked_rows(part, "warm_up.sets"))


def test_several_files_each_with_its_columns(dataset, tmp_path):
    pd.DataFrame({"text": ["2 + 2?"], "value": [4]}).to_parquet(tmp_path / "sums.parquet")
    write_lines(tmp_path / "more" / "a.jsonl", [{"problem": "3 + 3?", "answer": "6"}])
    sets = [
        {"path": str(tmp_path / "sums.parquet"), "problem": "text", "answer": "value"},
        {"path": str(tmp_path / "more"), "label": "mine"},
        {"repo": str(dataset), "name": "socratic", **COLUMNS},
    ]
    expected = [("2 + 2?", "4", "sums"), ("3 + 3?", "6", "mine"), ("socratic train 1 + 1?", "2", "dataset")]
    assert read(sets=sets) == expected
    # As a job gets them: with every default written out.
    again = ProblemsSource(kind="problems", sets=sets).model_dump(mode="json")
    assert read(**{key: value for key, value in again.items() if key != "kind"}) == expected


def test_the_card_names_the_datasets(built, tmp_path):
    from egpo.common.files import read_json, write_json

    manifest = read_json(built / "manifest.json")
    hub = {"repo": "owner/stories", "name": "main", "revision": "5a1bc2d", **COLUMNS}
    source = ProblemsSource.model_validate({"kind": "problems", "sets": [hub, {"path": "mine.jsonl"}]})
    manifest["settings"]["source"] = source.model_dump(mode="json")
    write_json(tmp_path / "manifest.json", manifest)
    write_card(built / "flags.parquet", tmp_path / "manifest.json", built / "examples.json", "", tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "`owner/stories` at revision `5a1bc2d`, without generations" in text
    assert "source_datasets:\n- owner/stories\n" in text
    assert "Local files of problems and answers, without generations" in (built / "README.md").read_text()


def test_too_few_rows_name_the_quota(tokenizer_folder, tmp_path):
    with pytest.raises(UserError, match=r"data\.quotas\.rows: 200 rows asked, \d+ available"):
        make_pool(problems(100), tokenizer_folder, tmp_path)


# --- a method --------------------------------------------------------------------------------------


def step(calibration: Calibration):
    """Two groups of two: entropies 1 and 3, right and wrong; 2 and none, both wrong."""
    entropies = torch.tensor([[1.0, 1.0], [3.0, 3.0], [2.0, 2.0], [9.0, 9.0]])
    scope = torch.tensor([[1, 1], [1, 1], [1, 1], [0, 0]]).bool()
    rewards, mask = torch.tensor([1.0, -1.0, -1.0, -1.0]), torch.ones(4, 2)
    return calibrate(rewards, entropies, mask, ["a", "a", "b", "b"], calibration, scope)


def test_an_own_function_gives_the_weights(demo, places):
    method = load(mine(demo, places, METHOD), "mine.yaml").methods["my-method"]
    raw = method.calibration.model_copy(update={"correct": "raw", "incorrect": "raw"})
    e = torch.e
    torch.testing.assert_close(step(raw).weights.values, torch.tensor([e, 1 / e, 1, 1]))
    # The clamp to [0.8, 2], and the advantages of Eq. (11) from Eq. (2) and NSR.
    clamped = step(method.calibration)
    torch.testing.assert_close(clamped.weights.values, torch.tensor([2.0, 0.8, 1, 1]))
    half = 0.5**0.5
    expected = torch.tensor([2 * half, -0.8 * half, -1, -1])
    torch.testing.assert_close(clamped.advantages, expected, rtol=1e-5, atol=0)


def test_verls_settings_carry_its_name_to_the_trainer(demo, places):
    catalogue = load(mine(demo, places, METHOD), "mine.yaml")
    method = catalogue.methods["my-method"]
    config = compose(catalogue.experiment.training, method, catalogue.backbones["tiny-math"])
    again = Calibration.model_validate(OmegaConf.to_container(config.algorithm.egpo, resolve=True))
    assert again == method.calibration and again.custom == (Path(places["config/my_weights.py"]), "sure")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return entropies[:2]", "returned (2,): a tensor of one number for each of the 4 responses"),
        ("return 1.0", "returned float"),
        ("return 1 / (entropies - 3)", "returned inf for a response of entropy 3"),
    ],
)
def test_an_own_function_that_returns_something_else_stops_the_training(body, expected, tmp_path):
    file = tmp_path / "weights.py"
    file.write_text(f"def mine(entropies, correct, groups):\n    {body}\n")
    with pytest.raises(UserError, match=re.escape(expected)) as caught:
        step(Calibration(weight=f"{file}:mine"))
    assert str(caught.value).startswith(f"calibration.weight: {file}:mine")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def mine(entropies):\n    return entropies\n", r" raised TypeError: mine\(\) takes 1 positional argument"),
        (
            "def mine(entropies, correct, groups):\n    raise ValueError('no')\n",
            r" raised ValueError in line 2: no\. Fix",
        ),
        ("mine = 3\n", " raised TypeError: 'int' object is not callable"),
        ("raise SystemExit(3)\n", r" cannot be loaded \(SystemExit: 3\)"),
    ],
)
def test_an_own_function_that_fails_is_named_with_its_error(text, expected, tmp_path):
    file = tmp_path / "weights.py"
    file.write_text(text)
    with pytest.raises(UserError, match=re.escape(f"calibration.weight: {file}:mine") + expected):
        step(Calibration(weight=f"{file}:mine"))


def test_an_own_function_that_changes_its_arguments_changes_nothing_else(tmp_path):
    file = tmp_path / "weights.py"
    change = "entropies.mul_(0)\n    correct.logical_not_()\n    return entropies + 1"
    file.write_text(f"def mine(entropies, correct, groups):\n    {change}\n")
    found, plain = step(Calibration(weight=f"{file}:mine")), step(Calibration())
    torch.testing.assert_close(found.entropies, plain.entropies, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(found.correct, plain.correct) and torch.equal(found.weights.values, torch.ones(4))


def test_a_file_that_cannot_be_run_is_named(tmp_path):
    file = tmp_path / "weights.py"
    file.write_text("import nowhere_to_be_found\n\n\ndef mine(entropies, correct, groups): ...\n")
    with pytest.raises(UserError, match=r"weights\.py:mine cannot be loaded \(ModuleNotFoundError"):
        step(Calibration(weight=f"{file}:mine"))


def test_an_edit_of_the_function_counts_and_a_comment_does_not(tmp_path):
    """By what rules/train.smk has among its params."""

    def version(name: str, text: str) -> str:
        (tmp_path / name / "weights.py").parent.mkdir()
        (tmp_path / name / "weights.py").write_text(text)
        (tmp_path / "weights.py").unlink(missing_ok=True)
        (tmp_path / "weights.py").symlink_to(tmp_path / name / "weights.py")
        provenance._read.cache_clear()
        return provenance.code_version.__wrapped__(
            "common/answers.py", os.path.relpath(tmp_path / "weights.py", ROOT / "src" / "egpo")
        )

    first = version("a", FUNCTION)
    assert version("b", FUNCTION.replace("import torch", "import torch  # a comment")) == first
    assert version("c", FUNCTION.replace("- entropies", "- 2 * entropies")) != first


# --- a benchmark -----------------------------------------------------------------------------------


def test_evalscope_reads_own_questions(demo, places, tmp_path):
    from egpo.evaluation.questions import write_questions

    own = load(mine(demo, places, BENCHMARK), "mine.yaml").benchmarks["my-questions"]
    folder = Path(places["/data/my-benchmark"])
    assert write_questions("my-questions", own, folder, tmp_path / "questions.jsonl") == 1
    assert json.loads((tmp_path / "questions.jsonl").read_text()) == QUESTIONS["my-questions"] == QUESTION["problem"]
    with pytest.raises(UserError, match=r"my-questions\.num_questions: 2, but evalscope reads 1 questions"):
        write_questions(
            "my-questions", own.model_copy(update={"num_questions": 2}), folder, tmp_path / "questions.jsonl"
        )


def test_a_question_with_a_separator_of_lines_stays_one(demo, places, tmp_path):
    """From the user's file through evalscope and the questions' file to the decontamination."""
    from egpo.data.build import read_questions
    from egpo.evaluation.questions import write_questions

    own = load(mine(demo, places, BENCHMARK), "mine.yaml").benchmarks["my-questions"]
    texts = [f"What is{character}1 + {number}?" for number, character in enumerate("\u2028\u2029\u0085")]
    rows = [{**QUESTION, "problem": text, "unique_id": str(number)} for number, text in enumerate(texts)]
    (tmp_path / "mine").mkdir()
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "mine" / "test.jsonl").write_text(lines, encoding="utf-8")
    file = tmp_path / "my.questions.jsonl"
    assert write_questions("my-questions", own.model_copy(update={"num_questions": 3}), tmp_path / "mine", file) == 3
    assert read_questions({"mine": file}) == {"mine": texts}


def test_the_dataset_that_the_docs_show_has_its_columns():
    assert {DATASET["data"]["source"][key] for key in ("problem", "answer")} == set(ROW)
    assert ROW["answer"].rpartition(DATASET["data"]["source"]["answer_after"])[2].strip() == "480"


def test_the_trackers_of_the_docs(demo):
    assert load(demo | TRACKERS, "mine.yaml").experiment.trackers == tuple(TRACKERS["trackers"])
