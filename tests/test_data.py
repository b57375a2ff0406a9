"""The data chain: from shards in OpenR1-Math's schema to the training pool in verl's format."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import datasets
import huggingface_hub
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chain import DATA, QUOTAS, STANDIN, build_small, hashes, local, quiet, read_flags, read_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from egpo.common.answers import _last_closed, extract_boxed, normalize_answer, read_by_math_verify
from egpo.common.errors import UserError
from egpo.common.files import read_json
from egpo.common.paths import ROOT
from egpo.config.data import Data, HubSource, RowReason
from egpo.config.files import read_yaml
from egpo.config.loader import with_preset
from egpo.data import reference_answers as answers
from egpo.data import wording
from egpo.data.filters import REASONS, ParsedRow, bucket, flags
from egpo.data.lengths import counted, load_tokenizer, parse
from egpo.data.reference_answers import is_missing, is_truth_value, not_a_value, several_values, unboxed
from egpo.data.sample import strata
from egpo.data.schema import FOLDERS, NEEDED, SCHEMA, Row, shards, verdicts
from egpo.data.source import prepare, prepared
from egpo.data.verl_rows import prompt
from egpo.synthetic.planted import EVALUATION_SETS
from egpo.synthetic.standin import make_source, standin_row, write_standin
from egpo.synthetic.tokenizer import make_tokenizer


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """A small sample without planted cases, made once: `source/` and `out/` below this folder."""
    folder = tmp_path_factory.mktemp("data")
    make_source(STANDIN, folder / "source", quiet)
    build_small(folder / "source", tokenizer_folder, folder / "out")
    return folder


load_tokenizer_once = cache(load_tokenizer)


def copied(built: Path, folder: Path) -> Path:
    """A copy of the sample's shards that a test may spoil."""
    for name in FOLDERS.values():
        (folder / name).mkdir(parents=True)
        for file in (built / "source" / name).glob("*.parquet"):
            (folder / name / file.name).write_bytes(file.read_bytes())
    return folder


def first_shard(folder: Path) -> Path:
    return min((folder / "data").glob("*.parquet"))


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{1}, no, \boxed{2}", "2"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{3} and \boxed{4", "3"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{1\right.}", r"\left\{1\right."),
        (r"\boxed {5}", "5"),
        (r"}} {\boxed{6}", "6"),
        (r"\boxed{1 + \boxed{2}}", "2"),  # the one that opens last
        (r"\boxed{}", ""),
        ("no box", None),
        (r"\boxed{7", None),
    ],
)
def test_last_boxed(text: str, content: str | None) -> None:
    assert extract_boxed(text) == content


@given(st.text(alphabet="ab{}\\ ", max_size=30), st.integers(0, 99))
def test_a_box_at_the_end_is_always_found(before: str, value: int) -> None:
    # A backslash just before would escape the box's own.
    assert extract_boxed(f"{before} \\boxed{{{value}}}") == str(value)


@given(st.lists(st.sampled_from(["\\boxed{", "\\boxed {", "{", "}", "\\{", "\\}", "\\", "a"]), max_size=12))
def test_trying_the_last_box_first_changes_nothing(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert extract_boxed(text) == _last_closed(text)


# --- the stand-in and its schema -----------------------------------------------------------------


def test_the_standin_has_openr1s_schema_and_folders(built: Path) -> None:
    files = shards(built / "source")
    assert {subset: len(names) for subset, names in files.items()} == {"default": 3, "extended": 2}
    assert all(pq.read_schema(file).equals(SCHEMA) for names in files.values() for file in names)
    rows = read_rows(built / "source")
    assert Counter(row.subset for row in rows) == {"default": 400, "extended": 200}
    assert len({row.uuid for row in rows}) == 600
    assert all(row.source.startswith("synthetic") for row in rows)
    assert {bucket(row.correct) for row in rows} == {"mixed", "correct", "incorrect"}


def test_what_is_written_is_what_is_read(built: Path) -> None:
    rows = {row.uuid: row for row in read_rows(built / "source")}
    for subset, index in (("default", 0), ("default", 399), ("extended", 7)):
        made = standin_row(STANDIN, subset, index)
        row = rows[made["uuid"]]
        assert row.problem == made["problem"]
        assert list(row.generations) == made["generations"]
        assert row.correct == verdicts(made["correctness_math_verify"], len(made["generations"]))


def test_a_standin_row_does_not_depend_on_shards_or_total(tmp_path: Path) -> None:
    other = STANDIN.model_copy(update={"extended_rows": 30, "rows_per_shard": 7})
    assert standin_row(other, "extended", 5) == standin_row(STANDIN, "extended", 5)
    write_standin(other.model_copy(update={"default_rows": 20}), tmp_path)
    write_standin(other.model_copy(update={"default_rows": 10}), tmp_path)
    assert sum(pq.read_metadata(file).num_rows for file in shards(tmp_path)["default"]) == 10


def test_odd_but_valid_shards_are_read(tmp_path: Path) -> None:
    """Columns in another order, a null-typed column, short and null flag lists, null texts, an empty shard."""
    rows = [standin_row(STANDIN, "default", index) for index in range(3)]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    correct = pa.array([[True], None, [None, True]], pa.list_(pa.bool_()))
    index = table.schema.get_field_index("correctness_math_verify")
    table = table.set_column(index, "correctness_math_verify", correct)
    table = table.set_column(table.schema.get_field_index("answer"), "answer", pa.nulls(3))
    for name in FOLDERS.values():
        (tmp_path / name).mkdir()
    pq.write_table(table.select(table.column_names[::-1]), tmp_path / "data" / "train-0.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "data" / "train-1.parquet")
    nulls = pa.Table.from_pylist([{**rows[0], "correctness_math_verify": None, "uuid": "other"}])
    assert nulls.schema.field("correctness_math_verify").type == pa.null()
    pq.write_table(nulls, tmp_path / "extended" / "train-0.parquet")

    read = read_rows(tmp_path)
    counts = [len(row["generations"]) for row in rows]
    assert [row.correct for row in read] == [
        (True,) + (False,) * (counts[0] - 1),
        (False,) * counts[1],
        (False, True) + (False,) * (counts[2] - 2),
        (False,) * counts[0],
    ]
    assert [row.answer for row in read[:3]] == ["", "", ""]


# --- filters -------------------------------------------------------------------------------------

GOOD = Row(
    subset="default",
    uuid="u",
    problem="What is 3 + 4?",
    solution="3+4=7. \\boxed{7}",
    answer="7",
    question_type="math-word-problem",
    source="synthetic_sums",
    generations=("<think>\n3+4=7\n</think>\n\n\\boxed{7}", "<think>\n3+4=8\n</think>\n\n\\boxed{8}"),
    correct=(True, False),
    correctness_count=1,
)
CASES = {
    "no-problem": {"problem": " "},
    "question-type": {"question_type": "MCQ"},
    "proof-wording": {"problem": "Prove that 3 + 4 is 7."},
    "options": {"problem": "What is 3 + 4? A) 6 B) 7 C) 8"},
    "multi-part": {"problem": "(a) What is 3 + 4? (b) What is 4 + 3?"},
    "figure": {"problem": "What is 3 + 4 in ![](a.png)?"},
    "link": {"problem": "What is 3 + 4, see https://example.org?"},
    "language": {"problem": "计算 3 + 4"},
    "no-answer": {"answer": "n/a", "solution": "\\boxed{n/a}"},
    "yes-or-no": {"answer": "No", "solution": "\\boxed{No}"},
    "several-values": {"answer": "12:30", "solution": "\\boxed{12:30}"},
    "not-a-value": {"answer": "Monday", "solution": "\\boxed{Monday}"},
    "few-generations": {"generations": GOOD.generations[:1], "correct": (True,)},
    "no-boxed-match": {"answer": "9"},
    "long-prompt": {"problem": "What is 3 + 4? " * 200},
    "long-response": {"generations": ("7 " * 400 + "\\boxed{7}",) * 2},
}


def parsed(row: Row, tokenizer_folder: Path, data: Data = DATA) -> ParsedRow:
    [item] = parse([row], load_tokenizer(tokenizer_folder), data.max_response_tokens)
    return item


def reasons(row: Row, tokenizer_folder: Path) -> list[str]:
    return [reason for reason, drops in flags(parsed(row, tokenizer_folder), DATA).items() if drops]


def test_a_good_row_passes_and_every_reason_has_a_case(tokenizer_folder: Path) -> None:
    assert reasons(GOOD, tokenizer_folder) == []
    assert list(CASES) == list(REASONS) == list(get_args(RowReason))


@pytest.mark.parametrize("reason", CASES)
def test_each_reason_drops_its_case_alone(reason: str, tokenizer_folder: Path) -> None:
    assert reasons(replace(GOOD, **CASES[reason]), tokenizer_folder) == [reason]


@pytest.mark.parametrize("answer", ["", " ", "proof", "NotFound", "None"])
def test_missing_answers(answer: str) -> None:
    assert is_missing(answer)


@pytest.mark.parametrize("answer", ["yes", "No", r"\text{True}", "$false$"])
def test_truth_values(answer: str) -> None:
    assert is_truth_value(answer)


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        (" 7 ", "7"),
        ("$7$", "7"),
        (r"\boxed{7}", "7"),
        (r"$\boxed{\frac{1}{2}}$", r"\frac{1}{2}"),
        ("$5", "$5"),
        (r"$a$ and $b$", r"$a$ and $b$"),
        (r"\boxed{7} m", r"\boxed{7} m"),
    ],
)
def test_dollars_and_boxes_around_an_answer_go(given: str, answer: str) -> None:
    assert unboxed(given) == answer


@pytest.mark.parametrize(
    "answer",
    [
        "Monday",
        "no solution",
        r"\text{east}",
        "(B)",
        "1 1/2",
        "x > 3",
        r"9^{9^{9^9}}",
        r"\begin{pmatrix}1\\2\end{pmatrix}",
    ],
)
def test_not_a_value(answer: str) -> None:
    assert not_a_value(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "7",
        "-3",
        "0.5",
        "10,000",
        "1/3",
        r"\frac{1}{2}",
        r"2\sqrt{3}",
        r"5\text{ cm}",
        r"50\%",
        "x=5",
        "n(n+1)/2",
        r"12\pi",
    ],
)
def test_a_value(answer: str) -> None:
    assert not not_a_value(answer) and not several_values(answer)


@settings(max_examples=200)
@given(st.from_regex(answers._EXPRESSION, fullmatch=True))
def test_what_is_taken_for_an_expression_math_verify_reads_as_one(answer: str) -> None:
    assert answers._is_expression(read_by_math_verify(answer), normalize_answer(answer))


@pytest.mark.parametrize("answer", ["3x^2+2x-1", r"2\sqrt{3}", r"\frac{\pi}{4}", "n/2", r"-\frac{x+1}{2y}", "2^{10}"])
def test_common_expressions_need_no_math_verify(answer: str) -> None:
    assert answers._EXPRESSION.fullmatch(answer)


@pytest.mark.parametrize("answer", ["1/0", r"\frac{1}{0}", "0^0", "2^{2^{9}}", "ab", "sin x", "9^{9^{9^9}}", "x>1"])
def test_what_else_is_left_to_math_verify(answer: str) -> None:
    assert not answers._EXPRESSION.fullmatch(answer)


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        ("Let $ABCD$ be a square with corners A, B, C.", None),
        ("Find f(1) + f(2) if f(a) = f(b).", None),
        ("3. (6 points) Find x.", None),
        ("1) Find x. 2) Find y.", "multi-part"),
        ("What is (3x-2)(4x+1)-(3x-2)4x+1 for x = 4?", None),
        ("Let f(x) - f(a) = (x - a)^2 (x - b). Enter (a,b).", None),
        ("For x in [0, 1) or (1, 2), find f.", None),
        ("Find: a) the area (in cm), b) the perimeter.", "multi-part"),
        ("How long is AC?\n[asy]\ndot(A);\ndot(B);\ndot(C);\ndraw((1,1)--(2,2));\n[/asy]", "figure"),
        ("(A) 1 (B) 2 (C) 3", "options"),
        (r"$\textbf{(A)}\ 1 \qquad\textbf{(B)}\ 2\qquad\textbf{(C)}\ 3$", "options"),
        ("Show that x is even.", "proof-wording"),
        ("Prove the theorem.", "proof-wording"),
        ("Let $x=2$. Compute y and show that $y>x$.", "proof-wording"),
        ("If $x>2$, show that $y>x$.", "proof-wording"),
        ("He wants to improve that.", None),
        ("Their results show that the size doubled. How many are there?", None),
        ("Jill watched a show that was 30 minutes long, and another show that was longer. How long in all?", None),
        ("They have 15 eagles on show that day.", None),
        ("as shown in the left diagram", "figure"),
        ("www.example.org has it", "link"),
        ("Zoë asks Núñez", None),
        ("求和", "language"),
    ],
)
def test_wording(problem: str, reason: str | None) -> None:
    assert [name for name, test in wording.TESTS.items() if test(problem)] == ([reason] if reason else [])


@pytest.mark.parametrize(
    "answer",
    [
        "7, 8",
        "x=1;y=2",
        "1 and 2",
        r"\pm 3",
        r"\{1\}",
        "[0, 1]",
        "(1, 2)",
        "3,14",
        "12:30",
        r"1 \text{ or } 2",
        r"\infty",
    ],
)
def test_several_values(answer: str) -> None:
    assert several_values(answer)


@pytest.mark.parametrize(
    "answer",
    [
        *("7", "-3", "10,000", "1,234,567", r"10\,000", r"1{,}000", r"\frac{1}{2}", r"\sqrt[3]{2}", "5 cm", "50%"),
        *("2^{10}", r"\left[a-\frac{1}{2}b\right]^{2}"),
    ],
)
def test_single_values(answer: str) -> None:
    assert not several_values(answer)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"generations": ("none", "none")}, True),  # the solution alone
        ({"solution": "none"}, True),  # one generation alone
        ({"solution": "none", "generations": ("none", "none")}, False),
        ({"solution": "none", "generations": ("\\boxed{7}, no: \\boxed{8}",) * 2}, False),  # the last box counts
        ({"solution": "\\boxed{7.0}", "generations": ("none", "none")}, True),  # math-verify's part
        ({"solution": "\\boxed{7", "generations": ("none", "none")}, False),
    ],
)
def test_boxed_match(changes: dict, match: bool, tokenizer_folder: Path) -> None:
    found = flags(parsed(replace(GOOD, **changes), tokenizer_folder), DATA)
    assert found["no-boxed-match"] is not match


def test_lengths_are_those_of_the_template_and_of_the_shortest_boxed_generation(tokenizer_folder: Path) -> None:
    tokenizer = load_tokenizer(tokenizer_folder)
    short, long = GOOD.generations[0], GOOD.generations[0] * 3
    row = replace(GOOD, generations=("short", long, short))
    item = parsed(row, tokenizer_folder)
    ids = tokenizer.apply_chat_template(prompt(GOOD.problem), add_generation_prompt=True, return_dict=False)
    assert item.prompt_tokens == len(ids)
    assert item.response_tokens == len(tokenizer(short, add_special_tokens=False)["input_ids"])
    for less, long in ((0, False), (1, True)):
        bounds = {"max_prompt_tokens": len(ids) - less, "max_response_tokens": item.response_tokens - less}
        data = DATA.model_copy(update=bounds)
        found = flags(parsed(row, tokenizer_folder, data), data)
        assert found["long-prompt"] is long and found["long-response"] is long


def test_a_later_generation_counts_where_the_first_is_too_long(tokenizer_folder: Path) -> None:
    """Fewer characters can be more tokens: every boxed generation is tried, in the order of characters."""
    dense, plain = "\\boxed{7}" + "^|~" * 60, "\\boxed{7}" + " the sum of the numbers" * 9
    assert len(dense) < len(plain)
    row = replace(GOOD, generations=(dense, plain))
    tokenizer = load_tokenizer(tokenizer_folder)
    counts = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in (dense, plain)]
    assert counts[0] > counts[1]
    between = DATA.model_copy(update={"max_response_tokens": counts[1]})
    assert parsed(row, tokenizer_folder, between).response_tokens == counts[1]
    below = DATA.model_copy(update={"max_response_tokens": counts[1] - 1})
    assert parsed(row, tokenizer_folder, below).response_tokens == counts[1]  # one more than the limit


@given(
    st.lists(st.sampled_from(["the sum", " ", "\n\n", "123456", "\\frac{1}{2}", "ÄÖÜ", "aaaaaaaaaa"]), max_size=40),
    st.integers(1, 30),
)
def test_counting_stops_beyond_the_limit_only(tokenizer_folder: Path, pieces: list[str], limit: int) -> None:
    text = "".join(pieces)
    tokenizer = load_tokenizer_once(tokenizer_folder)
    exact = len(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert counted(tokenizer, [text], limit) == [min(exact, limit + 1)]


@pytest.mark.parametrize(
    ("flags", "name"),
    [((True, False), "mixed"), ((True, True), "correct"), ((False, False), "incorrect"), ((), "incorrect")],
)
def test_buckets(flags: tuple[bool, ...], name: str) -> None:
    assert bucket(flags) == name


# --- the whole chain -----------------------------------------------------------------------------


def test_neither_row_order_nor_shards_change_a_byte(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    for name in FOLDERS.values():
        table = pa.concat_tables(pq.read_table(file) for file in sorted((built / "source" / name).glob("*.parquet")))
        shuffled = table.take(pd.Series(range(table.num_rows)).sample(frac=1, random_state=2).to_numpy())
        (tmp_path / "shards" / name).mkdir(parents=True)
        for index, start in enumerate(range(0, table.num_rows, 97)):
            pq.write_table(shuffled.slice(start, 97), tmp_path / "shards" / name / f"train-{index}.parquet")
    prepare(local(tmp_path / "shards"), tmp_path / "source", quiet)
    build_small(tmp_path / "source", tokenizer_folder, tmp_path / "out")
    assert hashes(tmp_path / "out") == hashes(built / "out")


def test_the_pool_loads_in_datasets_and_in_verl(
    built: Path, tmp_path: Path, tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verl.utils.dataset.rl_dataset import RLHFDataset

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    files = {name: str(built / "out" / f"{name}.parquet") for name in ("train", "validation")}
    loaded = datasets.load_dataset("parquet", data_files=files)
    assert {name: len(part) for name, part in loaded.items()} == {"train": QUOTAS.total - 16, "validation": 16}
    row = loaded["train"][0]
    assert row["prompt"] == prompt(row["prompt"][0]["content"].rsplit("\n", 1)[0])
    assert set(row["extra_info"]) == {"uuid", "subset", "bucket", "source", "index", "split"}
    uuids = {name: {extra["uuid"] for extra in part["extra_info"]} for name, part in loaded.items()}
    assert uuids["train"].isdisjoint(uuids["validation"])
    options = OmegaConf.create({"max_prompt_length": 200, "filter_overlong_prompts": False, "cache_dir": str(tmp_path)})
    pool = RLHFDataset(files["train"], load_tokenizer(tokenizer_folder), options)
    assert len(pool) == QUOTAS.total - 16
    assert pool[0]["raw_prompt"] == row["prompt"]


def test_the_manifest_tells_where_the_pool_comes_from(built: Path) -> None:
    manifest = read_json(built / "out" / "manifest.json")
    assert len(manifest["inputs"]) == 5
    assert manifest["deduplication"]["bands"] == 16 and manifest["deduplication"]["scheme"] == "affine32"
    assert set(manifest["found"]["decontamination"]) == set(EVALUATION_SETS)
    assert manifest["source_rows"] == 600 == sum(manifest["dropped"].values()) + QUOTAS.total
    assert manifest["splits"]["train"]["sha256"] == hashes(built / "out")["train.parquet"]


def test_the_last_length_filter_drops_late(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    rows = read_flags(built / "out")
    lengths = rows["prompt_tokens"][rows["reason"] == ""]
    bound = int(lengths.quantile(0.9))
    data = DATA.model_copy(update={"final_prompt_tokens": bound})
    build_small(built / "source", tokenizer_folder, tmp_path, data)
    dropped = int((lengths > bound).sum())
    manifest = read_json(tmp_path / "manifest.json")
    assert manifest["dropped"]["long-final-prompt"] == dropped > 0
    assert sum(part["rows"] for part in manifest["splits"].values()) == QUOTAS.total - dropped


def test_rows_with_one_uuid_are_counted_once(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = copied(built, tmp_path / "shards")
    (folder / "data" / "again.parquet").write_bytes(first_shard(folder).read_bytes())
    prepare(local(folder), tmp_path / "source", quiet)
    build_small(tmp_path / "source", tokenizer_folder, tmp_path / "out")
    assert read_json(tmp_path / "out" / "manifest.json")["dropped"]["duplicate-uuid"] == 150
    for name in ("train.parquet", "validation.parquet"):
        assert hashes(tmp_path / "out")[name] == hashes(built / "out")[name]


def test_demo_yaml_meets_its_quotas(tmp_path: Path, tokenizer_folder: Path) -> None:
    values = with_preset(read_yaml(ROOT / "config" / "demo.yaml")["data"], "demo.yaml")
    demo = Data.model_validate(values)
    make_source(demo.source, tmp_path / "source", quiet)
    build_small(tmp_path / "source", tokenizer_folder, tmp_path / "out", demo)
    rows = read_flags(tmp_path / "out")
    ready = rows[rows["reason"].isin(["", "not-sampled"])].groupby(["subset", "bucket"]).size()
    for stratum, quota in strata(demo.quotas).items():
        assert ready[stratum] >= 1.2 * quota, f"{stratum}: too little margin"


# --- what a user can get wrong -------------------------------------------------------------------


@pytest.mark.parametrize("name", FOLDERS.values())
def test_an_empty_shard_folder(name: str, built: Path, tmp_path: Path) -> None:
    folder = copied(built, tmp_path / "shards")
    for file in (folder / name).iterdir():
        file.unlink()
    with pytest.raises(UserError, match=rf"shards/{name}: no parquet file"):
        prepare(local(folder), tmp_path / "source", quiet)


def test_a_truncated_shard(built: Path, tmp_path: Path) -> None:
    folder = copied(built, tmp_path / "shards")
    shard = first_shard(folder)
    shard.write_bytes(shard.read_bytes()[:-500])
    with pytest.raises(UserError, match=rf"{shard.name}: not a readable parquet file"):
        prepare(local(folder), tmp_path / "source", quiet)


def test_a_shard_that_is_corrupt_inside(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    """Its footer is whole, so that only reading the rows can find it."""
    folder = copied(built, tmp_path / "shards")
    shard = first_shard(folder)
    content = bytearray(shard.read_bytes())
    content[4 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4)
    shard.write_bytes(content)
    prepare(local(folder), tmp_path / "source", quiet)
    with pytest.raises(UserError, match=rf"{shard.name}: not a readable parquet file"):
        build_small(tmp_path / "source", tokenizer_folder, tmp_path / "out")


@pytest.mark.parametrize("column", NEEDED)
def test_a_missing_column(column: str, built: Path, tmp_path: Path) -> None:
    folder = copied(built, tmp_path / "shards")
    shard = first_shard(folder)
    pq.write_table(pq.read_table(shard).drop_columns([column]), shard)
    with pytest.raises(UserError, match=rf"{shard.name}: column {column} is missing"):
        prepare(local(folder), tmp_path / "source", quiet)


def test_a_column_of_another_type(built: Path, tmp_path: Path) -> None:
    folder = copied(built, tmp_path / "shards")
    shard = first_shard(folder)
    table = pq.read_table(shard)
    table = table.set_column(
        table.schema.get_field_index("generations"), "generations", pa.array(["one text"] * table.num_rows)
    )
    pq.write_table(table, shard)
    with pytest.raises(UserError, match=rf"{shard.name}: column generations is of type string, expected list"):
        read_rows(folder)


def test_a_quota_larger_than_the_data(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    data = DATA.model_copy(update={"quotas": QUOTAS.model_copy(update={"extended_mixed": 5000})})
    with pytest.raises(UserError, match=r"data\.quotas\.extended_mixed: 5000 rows asked, \d+ available"):
        build_small(built / "source", tokenizer_folder, tmp_path, data)
    assert [path.name for path in tmp_path.iterdir()] == ["work"]  # the filtered shards, for the next try


def test_filters_that_leave_nothing(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    data = DATA.model_copy(update={"min_generations": 50})
    with pytest.raises(UserError, match=r"data\.quotas\.default_mixed: 60 rows asked, 0 available"):
        build_small(built / "source", tokenizer_folder, tmp_path, data)


def test_a_shard_that_changed_since_it_was_prepared(built: Path, tmp_path: Path) -> None:
    folder = copied(built, tmp_path / "shards")
    prepare(local(folder), tmp_path / "source", quiet)
    assert prepared(tmp_path / "source").rows == 600
    first_shard(folder).unlink()
    with pytest.raises(UserError, match="has changed since it was prepared"):
        prepared(tmp_path / "source")


def test_the_prepared_folder_can_be_moved(built: Path, tmp_path: Path) -> None:
    copied(built, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "manifest.json").write_text((built / "source" / "manifest.json").read_text())
    assert prepared(tmp_path / "elsewhere").folder.resolve() == (tmp_path / "elsewhere").resolve()


def test_a_tokenizer_without_chat_template(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(thinks=False, seed=1, context=512)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path / "plain")
    with pytest.raises(UserError, match="no chat template"):
        load_tokenizer(tmp_path / "plain")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no tokenizer can be loaded"):
        load_tokenizer(tmp_path / "empty")


def test_the_hub_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", refuse)
    hub = HubSource(kind="hub", repo="open-r1/OpenR1-Math-220k", revision="main")
    with pytest.raises(UserError, match="cannot fetch open-r1/OpenR1-Math-220k at main"):
        prepare(hub, tmp_path, quiet)
