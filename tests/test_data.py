"""The data chain: from shards in OpenR1-Math's schema to the training pool in verl's format."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasketch import MinHash, MinHashLSH
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from egpo.backbones.tokenizer import make_tokenizer
from egpo.boxed import last_boxed, same_answer
from egpo.config import ROOT, Data, Deduplication, HubSource, LocalSource, Quotas, StandInSource, read_yaml
from egpo.data import source as source_module
from egpo.data.build import ORDER, build
from egpo.data.deduplicate import REASON as NEAR_DUPLICATE
from egpo.data.deduplicate import clusters, deduplicate, shingles, tokens
from egpo.data.filters import REASONS, Measured, bucket, judge, several_values
from egpo.data.funnel import funnel, markdown
from egpo.data.lengths import load_tokenizer, measure
from egpo.data.sample import sample, split
from egpo.data.schema import FOLDERS, NEEDED, SCHEMA, Row, read_rows, shards, verdicts
from egpo.data.source import prepare, prepared
from egpo.data.standin import standin_row, write_standin
from egpo.data.verl_rows import prompt
from egpo.errors import UserError
from egpo.files import read_json

NOTE = "Synthetic and tiny."
QUOTAS = Quotas(default_mixed=60, default_correct=40, extended_mixed=20, extended_correct=15)
STANDIN = StandInSource(kind="standin", seed=3, default_rows=400, extended_rows=200, rows_per_shard=150)
DATA = Data(
    source=STANDIN,
    tokenizer="tiny",
    max_prompt_tokens=256,
    max_response_tokens=256,
    final_prompt_tokens=200,
    quotas=QUOTAS,
    validation_rows=16,
    seed=1,
)
OUTPUTS = ("train.parquet", "validation.parquet", "flags.parquet", "funnel.csv", "funnel.md")


def quiet(message: str) -> None:
    pass


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(thinks=False, seed=1, context=512).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """The small sample, source and pool, made once: `source/` and `out/` below this folder."""
    folder = tmp_path_factory.mktemp("data")
    prepare(STANDIN, folder / "source", quiet)
    build(DATA, folder / "source", tokenizer_folder, folder / "out", NOTE, quiet)
    return folder


def local(folder: Path) -> LocalSource:
    return LocalSource(kind="local", path=folder)


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
    assert last_boxed(text) == content


@given(st.text(alphabet="ab{}\\ ", max_size=30), st.integers(0, 99))
@settings(max_examples=200, deadline=None)
def test_a_box_at_the_end_is_always_found(before: str, value: int) -> None:
    # A backslash just before would escape the box's own.
    assert last_boxed(f"{before} \\boxed{{{value}}}") == str(value)


@pytest.mark.parametrize(
    ("candidate", "truth", "same"),
    [
        ("0.5", r"\frac{1}{2}", True),
        ("10,000", "10000", True),
        (r"\dfrac{1}{2}", r"\frac{1}{2}", True),
        ("$12$.", " 12", True),
        ("007", "7", True),
        ("12", "13", False),
        ("-3", "3", False),
        ("3,14", "3.14", False),
        ("1 1/2", "11/2", False),
        ("", "0", False),
        ("5", "", False),
        (r"9^{9^{9^{9}}}", "1", False),
        (r"\frac{", "1", False),
    ],
)
def test_same_answer(candidate: str, truth: str, same: bool) -> None:
    assert same_answer(candidate, truth) is same


def test_same_answer_in_a_thread() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(same_answer, r"\frac{2}{4}", "0.5").result()
        assert not pool.submit(same_answer, r"\frac{2}{5}", "0.5").result()


# --- the stand-in and its schema -----------------------------------------------------------------


def test_the_standin_has_openr1s_schema_and_folders(built: Path) -> None:
    files = shards(built / "source")
    assert {subset: len(names) for subset, names in files.items()} == {"default": 3, "extended": 2}
    assert all(pq.read_schema(file).equals(SCHEMA) for names in files.values() for file in names)
    rows = [row for batch in read_rows(built / "source") for row in batch]
    assert Counter(row.subset for row in rows) == {"default": 400, "extended": 200}
    assert len({row.uuid for row in rows}) == 600
    assert all(row.source.startswith("synthetic") for row in rows)
    assert {bucket(row.correct) for row in rows} == {"mixed", "correct", "incorrect"}


def test_what_is_written_is_what_is_read(built: Path) -> None:
    rows = {row.uuid: row for batch in read_rows(built / "source") for row in batch}
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
    flags = pa.array([[True], None, [None, True]], pa.list_(pa.bool_()))
    table = table.set_column(table.schema.get_field_index("correctness_math_verify"), "correctness_math_verify", flags)
    table = table.set_column(table.schema.get_field_index("answer"), "answer", pa.nulls(3))
    for name in FOLDERS.values():
        (tmp_path / name).mkdir()
    pq.write_table(table.select(table.column_names[::-1]), tmp_path / "data" / "train-0.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "data" / "train-1.parquet")
    nulls = pa.Table.from_pylist([{**rows[0], "correctness_math_verify": None, "uuid": "other"}])
    assert nulls.schema.field("correctness_math_verify").type == pa.null()
    pq.write_table(nulls, tmp_path / "extended" / "train-0.parquet")

    read = [row for batch in read_rows(tmp_path) for row in batch]
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
    "figure-or-link": {"problem": "What is 3 + 4 in ![](https://example.org/a.png)?"},
    "language": {"problem": "计算 3 + 4"},
    "no-answer": {"answer": "notfound", "solution": "\\boxed{notfound}"},
    "yes-or-no": {"answer": "Yes", "solution": "\\boxed{Yes}"},
    "several-values": {"answer": "7 or 8", "solution": "\\boxed{7 or 8}"},
    "few-generations": {"generations": GOOD.generations[:1], "correct": (True,)},
    "no-boxed-match": {"answer": "9"},
    "long-prompt": {"problem": "What is 3 + 4? " * 200},
    "long-response": {"generations": ("7 " * 400 + "\\boxed{7}",) * 2},
}


def reasons(row: Row, tokenizer_folder: Path) -> list[str]:
    [item] = measure([row], load_tokenizer(tokenizer_folder))
    return [reason for reason, drops in judge(item, DATA).items() if drops]


def test_a_good_row_passes_and_every_reason_has_a_case(tokenizer_folder: Path) -> None:
    assert reasons(GOOD, tokenizer_folder) == []
    assert set(CASES) == set(REASONS)


@pytest.mark.parametrize("reason", CASES)
def test_each_reason_drops_its_case_alone(reason: str, tokenizer_folder: Path) -> None:
    assert reasons(replace(GOOD, **CASES[reason]), tokenizer_folder) == [reason]


@pytest.mark.parametrize("answer", [None, "", " ", "proof", "NotFound"])
def test_missing_answers(answer: str | None, tokenizer_folder: Path) -> None:
    assert reasons(replace(GOOD, answer=answer or ""), tokenizer_folder)[0] == "no-answer"


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
    ["7", "-3", "10,000", "1,234,567", r"10\,000", r"1{,}000", r"\frac{1}{2}", r"\sqrt[3]{2}", "5 cm", "50%", "2^{10}"],
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
def test_boxed_match(changes: dict, match: bool) -> None:
    judged = judge(Measured(replace(GOOD, **changes), 10, 10), DATA)
    assert judged["no-boxed-match"] is not match


def test_lengths_are_those_of_the_template_and_of_the_shortest_boxed_generation(tokenizer_folder: Path) -> None:
    tokenizer = load_tokenizer(tokenizer_folder)
    short, long = GOOD.generations[0], GOOD.generations[0] * 3
    [item] = measure([replace(GOOD, generations=("short", long, short))], tokenizer)
    ids = tokenizer.apply_chat_template(prompt(GOOD.problem), add_generation_prompt=True, return_dict=False)
    assert item.prompt_tokens == len(ids)
    assert item.response_tokens == len(tokenizer(short, add_special_tokens=False)["input_ids"])
    exact = DATA.model_copy(update={"max_prompt_tokens": len(ids), "max_response_tokens": item.response_tokens})
    assert not judge(item, exact)["long-prompt"] and not judge(item, exact)["long-response"]
    below = DATA.model_copy(update={"max_prompt_tokens": len(ids) - 1, "max_response_tokens": item.response_tokens - 1})
    assert judge(item, below)["long-prompt"] and judge(item, below)["long-response"]


@pytest.mark.parametrize(
    ("flags", "name"),
    [((True, False), "mixed"), ((True, True), "correct"), ((False, False), "incorrect"), ((), "incorrect")],
)
def test_buckets(flags: tuple[bool, ...], name: str) -> None:
    assert bucket(flags) == name


# --- near-duplicates -----------------------------------------------------------------------------


def jaccard(one: str, other: str) -> float:
    first, second = shingles(one, 5), shingles(other, 5)
    return len(first & second) / len(first | second) if first | second else 0.0


def test_tokens_keep_digits_and_operators() -> None:
    assert tokens("x+y=3") != tokens("x-y=3")
    assert tokens("Find $x$  in 2x = 10.") == tokens("find x in 2X=10.")
    assert shingles("a b c d e f", 5) == {"a b c d e", "b c d e f"}
    assert shingles("a b c", 5) == {"a b c"} and shingles(" $ ", 5) == set()


def test_clusters_are_those_of_datasketchs_own_plain_use(built: Path) -> None:
    texts = [row.problem for batch in read_rows(built / "source") for row in batch]
    lsh, signatures = MinHashLSH(threshold=0.8, num_perm=128), []
    for index, text in enumerate(texts):
        signature = MinHash(num_perm=128)
        for shingle in shingles(text, 5):
            signature.update(shingle.encode())
        lsh.insert(str(index), signature)
        signatures.append(signature)
    members = {index: {index} for index in range(len(texts))}
    for index, signature in enumerate(signatures):
        for other in map(int, lsh.query(signature)):
            if members[index] is not members[other]:
                merged = members[index] | members[other]
                members.update(dict.fromkeys(merged, merged))
    expected = [min(members[index]) for index in range(len(texts))]
    assert len(set(expected)) < len(texts) - 20, "the sample must hold duplicates for this to mean anything"
    assert clusters(texts, Deduplication()) == expected


def test_texts_without_tokens_are_not_duplicates() -> None:
    assert clusters(["", " ", "What is 3 + 4?", "what is 3+4?", "What is 4 + 3?"], Deduplication()) == [0, 1, 2, 2, 4]


def test_which_row_of_a_cluster_is_kept() -> None:
    text = "What is 3 + 4?"
    rows = pd.DataFrame(
        [("a", "extended", text, 9), ("d", "default", text, 1), ("c", "default", text, 2), ("b", "default", text, 2)],
        columns=["uuid", "subset", "problem", "correctness_count"],
    )
    found = deduplicate(rows, Deduplication())
    assert rows["uuid"][~found["duplicate"]].tolist() == ["b"]
    assert set(found["cluster"]) == {"b"}


def test_the_pool_holds_no_near_duplicate(built: Path) -> None:
    """LSH alone promises no more than to find most pairs. Identical texts it always finds; that of the pairs at
    0.8 or above none is left in this sample, within a split or across, is checked exactly here.
    """
    parts = [pd.read_parquet(built / "out" / f"{name}.parquet") for name in ("train", "validation")]
    texts = [messages[0]["content"].rsplit("\n", 1)[0] for part in parts for messages in part["prompt"]]
    assert len({" ".join(tokens(text)) for text in texts}) == len(texts)
    assert max(jaccard(one, other) for one, other in combinations(texts, 2)) < 0.8


# --- sampling and funnel -------------------------------------------------------------------------


def strata(size: int) -> pd.DataFrame:
    names = [(subset, kind) for subset in FOLDERS for kind in ("mixed", "correct", "incorrect")]
    rows = [(f"{subset}-{kind}-{index}", subset, kind) for subset, kind in names for index in range(size)]
    return pd.DataFrame(rows, columns=["uuid", "subset", "bucket"])


def test_quotas_are_met_and_order_does_not_matter() -> None:
    rows = strata(70)
    chosen = rows[sample(rows, QUOTAS, seed=1) == ""]
    assert chosen.groupby(["subset", "bucket"]).size().to_dict() == {
        ("default", "mixed"): 60,
        ("default", "correct"): 40,
        ("extended", "mixed"): 20,
        ("extended", "correct"): 15,
    }
    shuffled = rows.sample(frac=1, random_state=5)
    assert set(shuffled["uuid"][sample(shuffled, QUOTAS, seed=1) == ""]) == set(chosen["uuid"])
    assert set(rows["uuid"][sample(rows, QUOTAS, seed=2) == ""]) != set(chosen["uuid"])
    assert (split(chosen, 16, seed=1) == "validation").sum() == 16


def test_a_larger_quota_only_adds_rows() -> None:
    rows = strata(70)
    small, large = QUOTAS, QUOTAS.model_copy(update={"default_mixed": 65})
    chosen = [set(rows["uuid"][sample(rows, quotas, seed=1) == ""]) for quotas in (small, large)]
    assert chosen[0] < chosen[1] and len(chosen[1]) == len(chosen[0]) + 5


def test_a_quota_larger_than_the_data_names_every_short_stratum() -> None:
    with pytest.raises(UserError) as error:
        sample(strata(30), QUOTAS, seed=1)
    assert "data.quotas.default_mixed: 60 rows asked, 30 available" in str(error.value)
    assert "data.quotas.default_correct: 40 rows asked, 30 available" in str(error.value)
    assert "extended" not in str(error.value)


def test_a_validation_split_that_leaves_nothing_to_train_on() -> None:
    with pytest.raises(UserError, match=r"data\.validation_rows: 6 of the 6 rows"):
        split(strata(1), 6, seed=1)


def test_funnel_adds_up(built: Path) -> None:
    table = pd.read_csv(built / "out" / "funnel.csv")
    assert (table["in"] == table["dropped"] + table["out"]).all()
    whole = table[table["subset"] == "all"].set_index("step")
    assert whole.index.tolist() == list(ORDER)
    assert whole["in"].iloc[0] == 600 and whole["out"].iloc[-1] == QUOTAS.total
    flags = pd.read_parquet(built / "out" / "flags.parquet")
    assert len(flags) == 600
    for step in ("question-type", "no-answer", "few-generations", "no-boxed-match", NEAR_DUPLICATE):
        assert whole.loc[step, "dropped"] == (flags["reason"] == step).sum() > 0
    # The first reason is the first flag that is set.
    for row in flags[[*REASONS, "reason"]].to_dict("records"):
        first = next((reason for reason in REASONS if row[reason]), None)
        assert first is None or row["reason"] == first


def test_funnel_refuses_a_reason_that_it_does_not_know() -> None:
    rows = pd.DataFrame({"subset": ["default"], "bucket": ["mixed"], "reason": ["lost"]})
    with pytest.raises(ValueError, match="lost"):
        funnel(rows, ORDER)


def test_funnel_markdown_ends_with_the_note(built: Path) -> None:
    assert (built / "out" / "funnel.md").read_text().endswith(f"\n{NOTE}\n")
    rows = pd.DataFrame({"subset": ["default"] * 2, "bucket": ["mixed"] * 2, "reason": ["", "no-answer"]})
    assert "| no-answer | 2 | 1 | 1 | 1 |" in markdown(funnel(rows, ORDER), "")


# --- the whole chain -----------------------------------------------------------------------------


def hashes(out: Path) -> dict[str, str]:
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in OUTPUTS}


def test_neither_row_order_nor_shards_change_a_byte(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    for name in FOLDERS.values():
        table = pa.concat_tables(pq.read_table(file) for file in sorted((built / "source" / name).glob("*.parquet")))
        shuffled = table.take(pd.Series(range(table.num_rows)).sample(frac=1, random_state=2).to_numpy())
        (tmp_path / "shards" / name).mkdir(parents=True)
        for index, start in enumerate(range(0, table.num_rows, 97)):
            pq.write_table(shuffled.slice(start, 97), tmp_path / "shards" / name / f"train-{index}.parquet")
    prepare(local(tmp_path / "shards"), tmp_path / "source", quiet)
    build(DATA, tmp_path / "source", tokenizer_folder, tmp_path / "out", NOTE, quiet)
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
    assert manifest["deduplication"]["bands"] == 9 and manifest["deduplication"]["scheme"] == "affine32"
    assert manifest["source_rows"] == 600 == sum(manifest["dropped"].values()) + QUOTAS.total
    assert manifest["splits"]["train"]["sha256"] == hashes(built / "out")["train.parquet"]


def test_the_last_length_filter_drops_late(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    flags = pd.read_parquet(built / "out" / "flags.parquet")
    lengths = flags["prompt_tokens"][flags["reason"] == ""]
    bound = int(lengths.quantile(0.9))
    data = DATA.model_copy(update={"final_prompt_tokens": bound})
    build(data, built / "source", tokenizer_folder, tmp_path, NOTE, quiet)
    dropped = int((lengths > bound).sum())
    manifest = read_json(tmp_path / "manifest.json")
    assert manifest["dropped"]["long-final-prompt"] == dropped > 0
    assert sum(part["rows"] for part in manifest["splits"].values()) == QUOTAS.total - dropped


def test_rows_with_one_uuid_are_counted_once(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    folder = copied(built, tmp_path / "shards")
    (folder / "data" / "again.parquet").write_bytes(first_shard(folder).read_bytes())
    prepare(local(folder), tmp_path / "source", quiet)
    build(DATA, tmp_path / "source", tokenizer_folder, tmp_path / "out", NOTE, quiet)
    assert read_json(tmp_path / "out" / "manifest.json")["dropped"]["duplicate-uuid"] == 150
    for name in ("train.parquet", "validation.parquet"):
        assert hashes(tmp_path / "out")[name] == hashes(built / "out")[name]


def test_demo_yaml_meets_its_quotas(tmp_path: Path, tokenizer_folder: Path) -> None:
    demo = Data.model_validate(read_yaml(ROOT / "config" / "demo.yaml")["data"])
    prepare(demo.source, tmp_path / "source", quiet)
    build(demo, tmp_path / "source", tokenizer_folder, tmp_path / "out", NOTE, quiet)
    flags = pd.read_parquet(tmp_path / "out" / "flags.parquet")
    ready = flags[flags["reason"].isin(["", "not-sampled"])].groupby(["subset", "bucket"]).size()
    for stratum, quota in demo.quotas.model_dump().items():
        assert ready[tuple(stratum.split("_"))] >= 1.2 * quota, f"{stratum}: too little margin"


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
        build(DATA, tmp_path / "source", tokenizer_folder, tmp_path / "out", NOTE, quiet)


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
        list(read_rows(folder))


def test_a_quota_larger_than_the_data(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    data = DATA.model_copy(update={"quotas": QUOTAS.model_copy(update={"extended_mixed": 5000})})
    with pytest.raises(UserError, match=r"data\.quotas\.extended_mixed: 5000 rows asked, \d+ available"):
        build(data, built / "source", tokenizer_folder, tmp_path, NOTE, quiet)
    assert not list(tmp_path.iterdir())


def test_filters_that_leave_nothing(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    data = DATA.model_copy(update={"min_generations": 50})
    with pytest.raises(UserError, match=r"data\.quotas\.default_mixed: 60 rows asked, 0 available"):
        build(data, built / "source", tokenizer_folder, tmp_path, NOTE, quiet)


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

    monkeypatch.setattr(source_module, "snapshot_download", refuse)
    hub = HubSource(kind="hub", repo="open-r1/OpenR1-Math-220k", revision="main")
    with pytest.raises(UserError, match="cannot fetch open-r1/OpenR1-Math-220k at main"):
        prepare(hub, tmp_path, quiet)
