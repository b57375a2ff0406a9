"""The whole chain over the planted cases, and properties of any result, checked by independent code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from random import Random

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chain import BUILT, CARD, DATA, NOTE, PLANTED, QUOTAS, build_small, card_of, hashes, local, quiet, read_flags
from hypothesis import given
from hypothesis import strategies as st
from waiting import LIMIT

from egpo.common.errors import UserError
from egpo.common.files import read_json
from egpo.common.paths import ROOT
from egpo.config.data import Data, Decontamination, Deduplication
from egpo.config.files import read_yaml
from egpo.config.loader import with_preset
from egpo.data.contamination import LEAST_SHINGLES, Prepared, found
from egpo.data.funnel import ALL
from egpo.data.near import exact_pairs
from egpo.data.ngrams import ngrams
from egpo.data.pool import ORDER
from egpo.data.sample import INCORRECT, LONG_FINAL_PROMPT, NOT_SAMPLED, strata
from egpo.data.schema import FOLDERS
from egpo.data.source import prepare
from egpo.data.tokens import tokenised
from egpo.synthetic.planted import EVALUATION_SETS, Case, planted_cases
from egpo.synthetic.standin import make_source

# Length limits that the planted long rows, and no others, are over.
WIDE = DATA.model_copy(
    update={"max_prompt_tokens": 4096, "max_response_tokens": 4096, "final_prompt_tokens": 4096, "source": PLANTED}
)
LATE = {INCORRECT, NOT_SAMPLED, LONG_FINAL_PROMPT}
CASES = planted_cases(PLANTED.seed)
PAPER_DATA = Data.model_validate(
    with_preset({**WIDE.model_dump(include=set(WIDE.model_fields_set)), "preset": "paper"}, "test")
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """`source/` and `out/` of the sample with every planted case."""
    folder = tmp_path_factory.mktemp("planted")
    make_source(PLANTED, folder / "source", quiet)
    build_small(folder / "source", tokenizer_folder, folder / "out", WIDE)
    return folder


@pytest.fixture(scope="module")
def flags(built: Path) -> pd.DataFrame:
    return read_flags(built / "out")


def row_of(flags: pd.DataFrame, case: Case) -> pd.Series:
    rows = flags[flags["uuid"] == case.row["uuid"]]
    if len(rows) > 1:  # the case of two rows with one uuid
        rows = rows[rows["duplicate-uuid"] == ("duplicate-uuid" in case.reasons)]
    assert len(rows) == 1
    return rows.iloc[0]


# --- every planted case --------------------------------------------------------------------------


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 90


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_planted(case: Case, flags: pd.DataFrame) -> None:
    row = row_of(flags, case)
    assert {reason for reason in ORDER if reason in flags and row[reason]} == case.reasons
    assert row["bucket"] == case.bucket
    first = next((reason for reason in ORDER if reason in case.reasons), None)
    assert row["reason"] == first if first else row["reason"] in {"", *LATE}
    if row["cluster"]:
        mates = flags[flags["cluster"] == row["cluster"]]["uuid"]
        names = {other.name for other in CASES if other.row["uuid"] in set(mates)}
        assert (
            names == {other.name for other in CASES if other.cluster == case.cluster} if case.cluster else {case.name}
        )


def test_the_side_table_says_the_same(built: Path) -> None:
    table = pd.read_csv(built / "source" / "planted.csv", keep_default_na=False)
    assert table["case"].tolist() == [case.name for case in CASES]
    assert [set(reasons.split()) for reasons in table["reasons"]] == [set(case.reasons) for case in CASES]


def test_the_preset_paper_does_what_it_says(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    """Bands alone for both; conflicting answers stay, one row of their cluster; renumbered items are not found."""
    assert PAPER_DATA.deduplication.mode == "paper" and PAPER_DATA.decontamination.rules == ("lsh",)
    build_small(built / "source", tokenizer_folder, tmp_path, PAPER_DATA)
    flags = read_flags(tmp_path)
    reasons = {case.name: row_of(flags, case)["reason"] for case in CASES}
    assert reasons["verbatim item"] == reasons["item in capitals"] == "contaminated"
    assert reasons["item with other numbers"] not in {"contaminated", "contaminated-cluster"}
    assert reasons["other answer, first"] in {"", *LATE}
    assert reasons["other answer, second"] == "near-duplicate"
    assert read_json(tmp_path / "manifest.json")["deduplication"]["candidates_checked"] is False


def test_presets_are_those_of_the_code() -> None:
    presets = read_yaml(ROOT / "config" / "data.yaml")
    assert set(presets) == {"paper", "recommended"}
    assert Decontamination.model_validate(presets["recommended"]["decontamination"]) == Decontamination()
    assert Deduplication.model_validate(presets["recommended"]["deduplication"]) == Deduplication()


def test_a_preset_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"mine.yaml: data\.preset: 'papr' is not .* Did you mean 'paper'"):
        with_preset({"preset": "papr"}, "mine.yaml")


# --- what holds of any result --------------------------------------------------------------------


def pool_texts(out: Path) -> dict[str, list[str]]:
    return {
        name: [
            messages[0]["content"].rsplit("\n", 1)[0] for messages in pd.read_parquet(out / f"{name}.parquet")["prompt"]
        ]
        for name in ("train", "validation")
    }


TOKEN = re.compile(r"\d+|[^\W\d_]+|[^\w\s$]|_")


def shingles(text: str, size: int = 5, only: str = "") -> set[tuple[str, ...]]:
    words = [word for word in TOKEN.findall(text.lower()) if not only or re.fullmatch(only, word)]
    return {tuple(words[start : start + size]) for start in range(max(1, len(words) - size + 1))} if words else set()


def ngrams_of_words(text: str, size: int) -> set[tuple[str, ...]]:
    return {ngram for ngram in shingles(text, size, only=r"\w+") if len(ngram) == size}


def broken_rules(text: str, item: str) -> set[str]:
    """The rules of docs/data.md by plain sets of words."""
    words, other = TOKEN.findall(text.lower()), TOKEN.findall(item.lower())
    mine, its = shingles(text), shingles(item)
    digitless = [[word for word in part if not word.isdecimal()] for part in (words, other)]
    return {
        rule
        for rule, hit in {
            "exact": bool(words) and words == other,
            "digitless": bool(digitless[0]) and digitless[0] == digitless[1],
            "jaccard": bool(mine | its) and len(mine & its) / len(mine | its) >= 0.8,
            "words": bool(ngrams_of_words(text, 13) & ngrams_of_words(item, 13)),
            "containment": len(its) >= LEAST_SHINGLES and len(mine & its) / len(its) >= 0.6,
        }.items()
        if hit
    }


def test_neither_duplicates_nor_items_are_left_by_brute_force(built: Path) -> None:
    parts = pool_texts(built / "out")
    texts = [text for part in parts.values() for text in part]
    assert len(texts) == QUOTAS.total
    for one, other in combinations(texts, 2):
        first, second = shingles(one), shingles(other)
        assert len(first & second) < 0.8 * len(first | second), (one, other)
    items = [item for part in EVALUATION_SETS.values() for item in part]
    assert not [(text, item) for text in texts for item in items if broken_rules(text, item)]


WORDS = ("the", "ferry", "carries", "sum", "of", "cars", "x", "+", "-", "=", "7", "31", "48", ".")


@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=40),
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(0, 5),
    st.integers(0, 2**16),
)
def test_each_rule_of_decontamination_is_that_of_the_sets(
    item: list[str], start: int, end: int, changes: int, seed: int
) -> None:
    """Texts made of a piece of an item, some words changed, among other words."""
    rng = Random(seed)
    piece = item[min(start, end) : max(start, end)]
    for _ in range(changes if piece else 0):
        piece[rng.randrange(len(piece))] = rng.choice([*WORDS, "rye", "9"])
    text = " ".join([*rng.choices(("mill", "rye"), k=rng.randrange(6)), *piece])
    settings = Decontamination()
    question = " ".join(item)
    sides = (Prepared.of(tokenised(side), settings, Deduplication()) for side in ([text, "another text"], [question]))
    hits = found(*sides, settings)
    assert {rule for rule in settings.rules if hits[rule][0]} == broken_rules(text, question)
    assert not any(hits[rule][1] for rule in settings.rules)
    assert hits["stock-phrase"][0] == bool(ngrams_of_words(text, 8) & ngrams_of_words(question, 8))


def test_lsh_against_the_items_is_datasketchs_own() -> None:
    from datasketch import MinHash, MinHashLSH

    from egpo.data.minhash import hash32

    items = [item for part in EVALUATION_SETS.values() for item in part]
    rng = Random(4)
    texts = []
    for _ in range(400):
        words = rng.choice(items).split(" ")
        for _ in range(rng.randrange(6)):
            words[rng.randrange(len(words))] = rng.choice(WORDS)
        texts.append(" ".join(words))
    settings = Decontamination(rules=("lsh",))
    left, right = (Prepared.of(tokenised(side), settings, Deduplication()) for side in (texts, items))

    def sketch(side: Prepared, index: int) -> MinHash:
        made = MinHash(num_perm=128, hashfunc=int, scheme="affine32", seed=1)
        made.update_batch(
            hash32(side.shingles.hashes[side.shingles.starts[index] : side.shingles.starts[index + 1]]).tolist()
        )
        return made

    lsh = MinHashLSH(threshold=0.8, num_perm=128)
    for index in range(len(items)):
        lsh.insert(index, sketch(right, index))
    expected = [bool(lsh.query(sketch(left, index))) for index in range(len(texts))]
    assert 20 < sum(expected) < 380
    assert found(left, right, settings)["lsh"].tolist() == expected


def test_in_is_out_and_first_reasons_at_every_step(built: Path, flags: pd.DataFrame) -> None:
    table = pd.read_csv(built / "out" / "funnel.csv", keep_default_na=False)
    assert (table["in"] == table["dropped"] + table["out"]).all()
    for keys, stratum in table[table["subset"] != ALL].groupby(["subset", "bucket", "source"]):
        assert stratum["step"].tolist() == list(ORDER)
        assert (stratum["in"].iloc[1:].to_numpy() == stratum["out"].iloc[:-1].to_numpy()).all()
        rows = flags[(flags[["subset", "bucket", "source"]] == keys).all(axis=1)]
        assert stratum["in"].iloc[0] == len(rows)
        for step, dropped in zip(stratum["step"], stratum["dropped"], strict=True):
            assert dropped == (rows["reason"] == step).sum()
    whole = table[table["subset"] == ALL]
    assert whole["in"].iloc[0] == len(flags) and whole["out"].iloc[-1] == QUOTAS.total
    left = flags[flags["reason"] == ""].groupby(["subset", "bucket"]).size()
    assert left.to_dict() == strata(QUOTAS)


def test_the_first_reason_is_the_first_flag(flags: pd.DataFrame) -> None:
    columns = [reason for reason in ORDER if reason in flags]
    for row in flags[[*columns, "reason"]].to_dict("records"):
        first = next((reason for reason in columns if row[reason]), None)
        assert row["reason"] == first if first else row["reason"] in {"", *LATE}


def test_a_reason_that_is_kept_is_noted_and_drops_nothing(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    data = WIDE.model_copy(update={"keep": ("figure", "language")})
    build_small(built / "source", tokenizer_folder, tmp_path, data)
    flags = read_flags(tmp_path)
    assert flags["figure"].sum() == 3 and not (flags["reason"] == "figure").any()
    assert read_json(tmp_path / "manifest.json")["dropped"]["language"] == 0


def test_eight_late_drops(built: Path, flags: pd.DataFrame, tmp_path: Path, tokenizer_folder: Path) -> None:
    """As in the paper, eight rows of the pool are over the final limit: they go last, from the pool alone."""
    lengths = flags["prompt_tokens"][flags["reason"] == ""].sort_values(ascending=False)
    bound = next(int(length) for length in lengths.unique() if (lengths > length).sum() >= 8)
    over = int((lengths > bound).sum())
    data = WIDE.model_copy(update={"final_prompt_tokens": bound})
    build_small(built / "source", tokenizer_folder, tmp_path, data)
    manifest = read_json(tmp_path / "manifest.json")
    assert manifest["dropped"]["long-final-prompt"] == over >= 8
    assert sum(part["rows"] for part in manifest["splits"].values()) == QUOTAS.total - over


def test_held_out_rows_are_left_over_and_far_from_the_pool(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    build_small(built / "source", tokenizer_folder, tmp_path, WIDE.model_copy(update={"heldout_rows": 12}))
    held = pd.read_parquet(tmp_path / "heldout.parquet")
    uuids = {extra["uuid"] for extra in held["extra_info"]}
    flags = read_flags(tmp_path)
    chosen = flags[flags["uuid"].isin(uuids) & (flags["split"] == "heldout")]
    assert len(held) == len(uuids) == len(chosen) == 12 and set(chosen["reason"]) == {"not-sampled"}
    texts = [messages[0]["content"].rsplit("\n", 1)[0] for messages in held["prompt"]]
    pool = [text for part in pool_texts(tmp_path).values() for text in part]
    shingled = ngrams(tokenised([*texts, *pool]), WIDE.deduplication.ngram_size)
    assert not [pair for pair in exact_pairs(shingled, WIDE.deduplication.threshold) if (pair < 12).sum() == 1]
    assert read_json(tmp_path / "manifest.json")["heldout"]["rows"] == 12
    with pytest.raises(UserError, match=r"data\.heldout_rows: 100000, but the quotas leave \d+ rows"):
        build_small(built / "source", tokenizer_folder, tmp_path, WIDE.model_copy(update={"heldout_rows": 100_000}))


def test_what_lsh_misses_is_found_in_the_pool(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    """With two bands nearly every near-duplicate is missed: the exact search of the pool drops it, or, in mode paper,
    keeps it out of the validation rows."""
    quotas = QUOTAS.model_copy(update={"default_mixed": 120})
    weak = Deduplication(bands=2)
    data = WIDE.model_copy(update={"deduplication": weak, "quotas": quotas})
    build_small(built / "source", tokenizer_folder, tmp_path / "weak", data)
    sampling = read_json(tmp_path / "weak" / "manifest.json")["found"]["sampling"]
    assert sampling["missed_by_lsh"] > 0 and sampling["near_pairs_left"] == 0
    texts = [text for part in pool_texts(tmp_path / "weak").values() for text in part]
    assert (
        max(
            len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))
            for one, other in combinations(texts, 2)
        )
        < 0.8
    )
    # Nearly equal numbers of permutations give datasketch few bands: it misses much, and nothing corrects that.
    paper = PAPER_DATA.deduplication.model_copy(update={"num_perm": 16, "bands": 16})
    data = PAPER_DATA.model_copy(update={"deduplication": paper, "quotas": quotas})
    build_small(built / "source", tokenizer_folder, tmp_path / "paper", data)
    assert read_json(tmp_path / "paper" / "manifest.json")["found"]["sampling"]["missed_by_lsh"] == 0
    parts = pool_texts(tmp_path / "paper")
    for one in parts["validation"]:
        for other in parts["train"]:
            assert len(shingles(one) & shingles(other)) < 0.8 * len(shingles(one) | shingles(other))


# --- the same bytes ------------------------------------------------------------------------------

# Builds in another process, which can have another hash seed and be killed. It is forked for each kill
# from one that has imported everything, or most kills would fall into the imports.
BUILD = """
import os, shutil, signal, sys, time; from pathlib import Path; from random import Random
sys.path.insert(0, {tests!r})
from chain import build_small; from test_planted import WIDE

def build(out):
    build_small(Path({source!r}), Path({tokenizer!r}), Path(out), WIDE, workers=2)

def forked(out, seconds):
    child = os.fork()
    if not child:
        build(out)
        os._exit(0)
    start = time.monotonic()
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1], time.monotonic() - start

status, seconds = forked({out!r} + "/whole", None)
assert status == 0
rng, kills = Random(1), 0
while kills < 10:
    folder = {out!r} + f"/killed-{{kills}}"
    if forked(folder, rng.uniform(0, seconds))[0] == signal.SIGKILL:
        kills += 1
    else:  # it was quicker than the first
        shutil.rmtree(folder)
        seconds *= 0.8
for kill in range(10):
    build({out!r} + f"/killed-{{kill}}")
"""


@pytest.mark.slow
def test_ten_kills_workers_and_hash_seed_change_no_byte(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    """SIGKILL at ten random points of a build with two workers and another hash seed, each followed by a whole one."""
    code = BUILD.format(
        tests=str(ROOT / "tests"), source=str(built / "source"), tokenizer=str(tokenizer_folder), out=str(tmp_path)
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        timeout=2 * LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for folder in (tmp_path / "whole", *(tmp_path / f"killed-{kill}" for kill in range(10))):
        assert hashes(folder) == hashes(built / "out")
        assert read_json(folder / "manifest.json") == read_json(built / "out" / "manifest.json")
        left = {file.name for file in folder.iterdir() if not file.name.startswith(".")}
        assert left == {*BUILT, *CARD, "manifest.json", "work"}


@pytest.mark.parametrize("rows", [97, 1000])
def test_shuffled_shards_change_no_byte(built: Path, tmp_path: Path, tokenizer_folder: Path, rows: int) -> None:
    for name in FOLDERS.values():
        table = pa.concat_tables(pq.read_table(file) for file in sorted((built / "source" / name).glob("*.parquet")))
        shuffled = table.take(pd.Series(range(table.num_rows)).sample(frac=1, random_state=rows).to_numpy())
        (tmp_path / "shards" / name).mkdir(parents=True)
        for index, start in enumerate(range(0, table.num_rows, rows)):
            pq.write_table(shuffled.slice(start, rows), tmp_path / "shards" / name / f"train-{9 - index}.parquet")
    prepare(local(tmp_path / "shards"), tmp_path / "source", quiet)
    build_small(tmp_path / "source", tokenizer_folder, tmp_path / "out", WIDE)
    assert hashes(tmp_path / "out") == hashes(built / "out")


def test_a_filtered_shard_is_not_filtered_again(built: Path, tmp_path: Path, tokenizer_folder: Path) -> None:
    build_small(built / "source", tokenizer_folder, tmp_path, WIDE)
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "work").iterdir()}
    assert len(times) == 6
    build_small(built / "source", tokenizer_folder, tmp_path, WIDE.model_copy(update={"seed": 2}))
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "work").iterdir()} == times
    build_small(built / "source", tokenizer_folder, tmp_path, WIDE.model_copy(update={"min_generations": 1}))
    assert not set(times) & set((tmp_path / "work").iterdir())


# --- the card, and what a user can get wrong -----------------------------------------------------


def test_the_card_loads_the_pool(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    from huggingface_hub import DatasetCard

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    card = DatasetCard((built / "out" / "README.md").read_text())
    assert card.data.size_categories == "n<1K" and "synthetic" in card.data.tags
    assert "| default | mixed | 60 |" in card.text and "Synthetic and tiny." in card.text
    loaded = datasets.load_dataset(str(built / "out"))
    assert {name: len(part) for name, part in loaded.items()} == {"train": QUOTAS.total - 16, "validation": 16}
    [flags] = datasets.load_dataset(str(built / "out"), "flags").values()
    assert len(flags) == 600 + len(CASES)


def test_the_card_depends_on_the_flags_and_not_on_their_order(built: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes((built / "out" / "manifest.json").read_bytes())
    (tmp_path / "examples.json").write_bytes((built / "out" / "examples.json").read_bytes())
    read_flags(built / "out").sample(frac=1, random_state=4).to_parquet(tmp_path / "flags.parquet")
    card_of(tmp_path, tmp_path)
    for name in CARD:
        assert (tmp_path / name).read_bytes() == (built / "out" / name).read_bytes()


def test_the_note_is_the_last_paragraph_and_the_only_difference(built: Path, tmp_path: Path) -> None:
    card_of(built / "out", tmp_path, note="")
    for name in ("README.md", "funnel.md"):
        assert (built / "out" / name).read_text() == (tmp_path / name).read_text() + f"\n{NOTE}\n"
    assert (tmp_path / "funnel.csv").read_bytes() == (built / "out" / "funnel.csv").read_bytes()


def test_a_card_of_other_flags_is_refused(built: Path, tmp_path: Path, flags: pd.DataFrame) -> None:
    for name in ("manifest.json", "examples.json"):
        (tmp_path / name).write_bytes((built / "out" / name).read_bytes())
    flags[flags["split"] != "validation"].to_parquet(tmp_path / "flags.parquet")
    with pytest.raises(AssertionError, match="the funnel and the files disagree"):
        card_of(tmp_path, tmp_path)


def test_every_reason_that_drops_rows_has_examples(built: Path, flags: pd.DataFrame) -> None:
    chosen = read_json(built / "out" / "examples.json")
    counts = flags["reason"].value_counts()
    for step in ORDER:
        uuids = [row["uuid"] for row in chosen if row["step"] == step]
        assert len(uuids) == min(2, counts.get(step, 0))
        assert set(uuids) <= set(flags["uuid"][flags["reason"] == step])
    shown = (built / "out" / "funnel.md").read_text().split("## Examples")[1]
    assert all(f"| {row['step']} | {row['uuid']} | " in shown for row in chosen)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("", "this file is empty"),
        ("not JSON", "line 1 is not JSON"),
        ("{}", "line 1 is not a question"),
    ],
)
def test_an_evaluation_set_that_is_missing(
    built: Path, tmp_path: Path, tokenizer_folder: Path, content: str | None, words: str
) -> None:
    from egpo.data.build import build

    file = tmp_path / "mine.questions.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=rf"{file.name}: {words}.*questions of 'mine'"):
        build(WIDE, built / "source", tokenizer_folder, {"mine": file}, tmp_path / "out", 1, quiet)


def test_bands_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="num_perm 128 cannot be divided into 10 equal bands"):
        Deduplication(bands=10)


def test_the_questions_of_a_benchmark_are_evalscopes(tmp_path: Path) -> None:
    """Bare texts, without template and worked examples, from the very reader that the evaluation has."""
    from egpo.config.benchmarks import Benchmark
    from egpo.evaluation.questions import write_questions
    from egpo.synthetic.benchmark import draw_items, write_benchmark

    values = {"label": "x", "adapter": "gsm8k", "num_questions": 20, "num_fewshot": 4}
    source = {"kind": "synthetic", "seed": 5, "templates": "stories"}
    benchmark = Benchmark.model_validate({**values, "source": source})
    write_benchmark(benchmark, tmp_path / "gsm8k")
    assert write_questions("mine", benchmark, tmp_path / "gsm8k", tmp_path / "q.jsonl") == 20
    texts = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert texts == [problem.text for problem in draw_items(benchmark.source, 28)[:20]]
    with pytest.raises(UserError, match=r"mine\.num_questions: 19, but evalscope reads 20"):
        write_questions(
            "mine", benchmark.model_copy(update={"num_questions": 19}), tmp_path / "gsm8k", tmp_path / "q.jsonl"
        )
    with pytest.raises(UserError, match="mine: evalscope cannot read its 'gsm8k'"):
        write_questions("mine", benchmark, tmp_path / "nothing", tmp_path / "q.jsonl")
