"""The data chain on real problems and answers; with `-rP` the tests print what docs/data.md has.

Near-duplicates are compared with a join of Python's sets, written here; expected numbers are counted from the files.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from chain import card_of, local, quiet, read_flags

from egpo.common.answers import answers_equivalent, extract_boxed
from egpo.common.errors import UserError
from egpo.common.files import read_json
from egpo.common.json_lines import read_objects
from egpo.common.paths import ROOT
from egpo.config.benchmarks import Benchmark
from egpo.config.data import Data, Decontamination, Deduplication, ProblemsSource, Quotas, Rows
from egpo.data import contamination
from egpo.data.build import build, read_questions
from egpo.data.deduplicate import clusters, conflicting, near_pairs, numbers_of
from egpo.data.lengths import load_tokenizer
from egpo.data.near import components, exact_pairs
from egpo.data.ngrams import ngrams
from egpo.data.problem_files import rows as problem_rows
from egpo.data.reference_answers import not_a_value, several_values, unboxed
from egpo.data.schema import SCHEMA
from egpo.data.source import prepare
from egpo.data.tokens import tokenised
from egpo.data.verl_rows import prompt
from egpo.data.wording import TESTS
from egpo.evaluation.questions import write_questions

pytestmark = pytest.mark.real

BENCHMARKS = {"math_500": 500, "aime24": 30, "minerva": 272, "gsm8k": 1319, "mmlu_stem": 3018}
FOLDERS = {"minerva": "minerva_math"}
ROWS = {"gsm8k": 7473, "mawps": 2065, "svamp": 1000, "asdiv": 2215}
SETTINGS: dict[str, Any] = {"tokenizer": "tiny", "seed": 1, "max_deficit": 1}
EXAMPLES = 5


def show(title: str, lines: Iterable[str], least: int = EXAMPLES) -> None:
    """Print a few lines under a title; -rP shows them."""
    print(f"\n{title}")
    for line in list(lines)[:least]:
        print(f"  {line}")


def told(row: Any) -> str:
    return f"[{row.source}] {' '.join(row.problem.split())} -> {row.answer.strip()}"


# --- what the tests share --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def questions(real: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The real questions of the five benchmarks, by evalscope, as the rule benchmark_questions writes them."""
    folder = tmp_path_factory.mktemp("questions")
    entries = yaml.safe_load((ROOT / "config" / "benchmarks.yaml").read_text())
    files = {}
    for name, count in BENCHMARKS.items():
        place = real / "benchmarks" / FOLDERS.get(name, name)
        entry = Benchmark.model_validate({**entries[name], "source": {"kind": "local", "path": place}})
        files[name] = folder / f"{name}.questions.jsonl"
        assert write_questions(name, entry, place, files[name]) == count
    return files


def word_problems(real: Path, *more: Path) -> ProblemsSource:
    """GSM8K's training split, three sets of word problems, and further files."""
    gsm8k = {"path": real / "benchmarks" / "gsm8k" / "train.jsonl", "problem": "question", "label": "gsm8k"}
    files = [real / "problems" / f"{name}.jsonl" for name in ("mawps", "svamp", "asdiv")]
    sets = [{**gsm8k, "answer_after": "####"}, *({"path": file} for file in (*files, *more))]
    return ProblemsSource.model_validate({"kind": "problems", "sets": sets})


def texts_of(source: ProblemsSource) -> pd.DataFrame:
    return pd.DataFrame(problem_rows(source)).drop_duplicates("uuid").set_index("uuid")


def flags_of(out: Path, source: ProblemsSource) -> pd.DataFrame:
    """The flags of every row with its texts."""
    return read_flags(out).join(texts_of(source)[["problem", "answer"]], on="uuid")


def make(source: ProblemsSource, folder: Path, tokenizer: Path, questions: dict[str, Path], **settings: Any) -> Path:
    """The whole chain over all rows, as Snakemake runs it."""
    prepare(source, folder / "source", quiet)
    data = Data(source=source, quotas=Rows(rows=20_000), validation_rows=128, **SETTINGS, **settings)
    build(data, folder / "source", tokenizer, questions, folder / "out", 1, quiet)
    card_of(folder / "out", folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def built(
    real: Path, questions: dict[str, Path], tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return make(word_problems(real), tmp_path_factory.mktemp("real"), tokenizer_folder, questions)


@pytest.fixture(scope="module")
def flags(built: Path, real: Path) -> pd.DataFrame:
    return flags_of(built, word_problems(real))


# --- the same by other code ------------------------------------------------------------------------

# What egpo.data.tokens says of a token, as expressions.
TOKEN = re.compile(r"\d+|[^\W\d_]+|[^\w\s$]|_")
SAME_SIGN = {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2212": "-"}


def words_of(text: str) -> list[str]:
    text = "".join(SAME_SIGN.get(character, character) for character in text.lower())
    return TOKEN.findall(re.sub(r"(\d),(?=\d\d\d(?!\d))", r"\1", text))


def shingles_of(text: str) -> frozenset[tuple[str, ...]]:
    made = words_of(text)
    return frozenset(tuple(made[start : start + 5]) for start in range(max(1, len(made) - 4)))


def joined(texts: list[str], threshold: float) -> dict[tuple[int, int], float]:
    """Every pair of texts of at least this Jaccard similarity, by counting what each two of them share."""
    sets = [shingles_of(text) for text in texts]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, shingles in enumerate(sets):
        for shingle in shingles:
            holders[shingle].append(number)
    shared = Counter(pair for members in holders.values() for pair in combinations(members, 2))
    found = {(a, b): count / (len(sets[a]) + len(sets[b]) - count) for (a, b), count in shared.items()}
    return {pair: similarity for pair, similarity in found.items() if similarity >= threshold}


# --- the whole chain -------------------------------------------------------------------------------


def test_every_row_is_read_and_accounted_for(built: Path, flags: pd.DataFrame) -> None:
    assert Counter(flags["source"]) == ROWS and len(flags) == 12_753
    manifest = read_json(built / "manifest.json")
    left = (flags["reason"] == "").sum()
    assert sum(manifest["dropped"].values()) + left == 12_753
    assert manifest["splits"]["train"]["rows"] + 128 == left > 12_000
    assert {name: found["items"] for name, found in manifest["found"]["decontamination"].items()} == BENCHMARKS
    print(pd.crosstab(flags["reason"].replace("", "left"), flags["source"], margins=True).to_string())
    for reason, rows in flags[flags["reason"] != ""].groupby("reason"):
        show(f"{reason}: {len(rows)}", [told(row) for row in rows.itertuples()])


def test_the_row_filters_are_right(flags: pd.DataFrame) -> None:
    """All of these sets are word problems with one answer each, so a filter of wording drops none."""
    wording = ["no-problem", "question-type", "proof-wording", "options", "figure", "link", "language", "no-answer"]
    assert not flags["reason"].isin(wording).any()
    gsm8k = flags[flags["source"] == "gsm8k"]
    assert not gsm8k["reason"].isin(["several-values", "not-a-value", "yes-or-no", "multi-part"]).any()
    lists = flags[flags["reason"] == "several-values"]["answer"]
    assert len(lists) and lists.str.contains(r"\d:\d").all(), "ratios and times of day"
    named = flags[flags["reason"] == "not-a-value"]["answer"]
    assert len(named) and not named.str.contains(r"\d").any(), "names, days and places"


def test_near_duplicates_are_those_of_an_exact_join(flags: pd.DataFrame, built: Path) -> None:
    """Over the rows that reach this step. What the bands miss, the search of the drawn pool finds."""
    reached = flags[flags["reason"].isin(["", "contaminated", "contaminated-cluster", *DUPLICATES])]
    texts = reached["problem"].tolist()
    expected = joined(texts, 0.8)
    made = ngrams(tokenised(texts), 5)
    assert set(map(tuple, exact_pairs(made, 0.8).tolist())) == set(expected)
    found = set(map(tuple, near_pairs(made, Deduplication())[0].tolist()))
    assert found <= set(expected) and len(found) >= 0.99 * len(expected)
    reasons, numbers = reached["reason"].tolist(), [numbers_of(text) for text in texts]
    same = {pair for pair in expected if numbers[pair[0]] == numbers[pair[1]]}
    assert not [pair for pair in same if reasons[pair[0]] == reasons[pair[1]] == ""], "a copy is left"
    partners = {row for pair in expected for row in pair}
    assert {row for row, reason in enumerate(reasons) if reason in DUPLICATES} <= partners
    spaced = [
        (a, b) for a, b in same if texts[a] != texts[b] and "".join(texts[a].split()) == "".join(texts[b].split())
    ]
    print(
        f"pairs of 0.8 or more: {len(expected)}; found by the bands: {len(found)}; with the same numbers: {len(same)}; "
        f"the same but for blanks: {len(spaced)}; {read_json(built / 'manifest.json')['found']['near_duplicates']}"
    )
    paper = components(near_pairs(made, Deduplication(mode="paper"))[0], len(texts))
    apart = sum(paper[a] != paper[b] for a, b in expected)
    wrong = [row for row in np.flatnonzero(paper != np.arange(len(texts))).tolist() if row not in partners]
    print(f"mode paper: {apart} of {len(expected)} pairs missed, {len(wrong)} rows dropped without a pair of 0.8")
    others = sorted(set(expected) - same)
    show("other numbers", [f"{texts[a]} / {texts[b]}" for a, b in others], 20)


DUPLICATES = ("near-duplicate", "conflicting-answers")


def test_mawps_holds_problems_with_other_spacing(flags: pd.DataFrame) -> None:
    """Texts that are the same without blanks: one of each is left, or none where their answers differ."""
    mawps = flags[(flags["source"] == "mawps") & (flags["reason"].isin(["", *DUPLICATES]))]
    squeezed = mawps["problem"].map(lambda text: "".join(text.split()))
    repeated = mawps[squeezed.duplicated(keep=False)]
    assert len(repeated) > 100
    for _, rows in repeated.groupby(squeezed):
        left = Counter(rows["reason"])[""]
        assert left <= 1, rows["problem"].tolist()
    print(f"rows of MAWPS that are the same but for blanks: {len(repeated)}, {repeated['reason'].eq('').sum()} left")
    # Small edits of a short text are below 0.8: another threshold would be needed for them.
    hay = flags[flags["problem"].str.startswith("There were 28 bales of hay in the barn")]["problem"].tolist()
    assert len(hay) == 2 and joined(hay, 0.8) == {}
    show("28 bales of hay", [f"{value:.2f} {hay}" for value in joined(hay, 0.1).values()])


def test_only_the_same_numbers_with_other_answers_are_a_conflict(flags: pd.DataFrame) -> None:
    conflicts = flags[flags["reason"] == "conflicting-answers"]
    for _, rows in conflicts.groupby("cluster"):
        assert len({numbers_of(text) for text in rows["problem"]}) == 1
        first, *others = rows["answer"]
        assert any(not answers_equivalent(first, other) for other in others)
    answers = {
        "Mrs. Hilt baked pies last weekend": {"30", "6"},  # an error: one text, two answers
        "There were 2 friends playing a video game": {"24", "32"},  # one story with other numbers
        "There were 8 friends playing a video game": {"60"},
        "Emily bought 4 new chairs": {"48"},
    }
    for start, expected in answers.items():
        rows = flags[(flags["source"] == "mawps") & flags["problem"].str.startswith(start)]
        assert expected <= set(rows["answer"])
        dropped = set(rows["reason"]) - {"", "near-duplicate", "duplicate-uuid"}
        assert dropped == ({"conflicting-answers"} if len(expected) > 1 and "6" in expected else set()), start
    clusters = [" / ".join(map(told, rows.itertuples())) for _, rows in conflicts.groupby("cluster")]
    show(f"conflicts: {len(clusters)} clusters, {len(conflicts)} rows", clusters, 20)


def test_how_near_svamp_is_to_asdiv(flags: pd.DataFrame) -> None:
    """SVAMP was made of ASDiv's problems with other wording: far below 0.8, which finds copies alone."""
    both = flags[flags["source"].isin(["svamp", "asdiv"])].drop_duplicates("problem").reset_index(drop=True)
    source = both["source"].tolist()
    pairs = joined(both["problem"].tolist(), 0.2)
    across = {pair: value for pair, value in pairs.items() if source[pair[0]] != source[pair[1]]}
    counts = {
        bound: len(
            {both["problem"][a if source[a] == "svamp" else b] for (a, b), value in across.items() if value >= bound}
        )
        for bound in (0.2, 0.3, 0.4, 0.5, 0.8)
    }
    assert counts[0.8] == 0 < counts[0.3]
    print("SVAMP's rows with one of ASDiv's of that similarity or more:", counts)
    nearest = sorted(across, key=lambda pair: -across[pair])
    show("nearest", [f"{across[a, b]:.2f} {told(both.loc[a])} / {told(both.loc[b])}" for a, b in nearest])
    within = joined(both[both["source"] == "svamp"]["problem"].tolist(), 0.8)
    print("pairs of 0.8 or more within SVAMP:", len(within))


def test_what_is_left_below_the_threshold(flags: pd.DataFrame) -> None:
    """Copies of smaller similarity stay: their number is in the docs."""
    left = flags[flags["reason"] == ""].reset_index(drop=True)
    pairs = joined(left["problem"].tolist(), 0.6)
    copies = [
        (a, b)
        for a, b in pairs
        if numbers_of(left["problem"][a]) == numbers_of(left["problem"][b])
        and answers_equivalent(left["answer"][a], left["answer"][b])
    ]
    assert len(copies) < 0.01 * len(left)
    print(f"pairs of 0.6 to 0.8 left: {len(pairs)}, of them with the same numbers and answer: {len(copies)}")
    show("such pairs", [f"{told(left.loc[a])} / {told(left.loc[b])}" for a, b in copies], 10)


def test_at_most_one_of_a_template(
    real: Path, questions: dict[str, Path], tokenizer_folder: Path, tmp_path: Path, flags: pd.DataFrame
) -> None:
    dedup = Deduplication(max_per_template=1)
    out = make(word_problems(real), tmp_path, tokenizer_folder, questions, deduplication=dedup)
    limited = flags_of(out, word_problems(real))
    left = limited[limited["reason"] == ""]
    templates = left["problem"].map(lambda text: tuple(word for word in words_of(text) if not word.isdecimal()))
    assert not templates.duplicated().any()
    dropped = limited[limited["reason"] == "same-template"]
    assert len(left) + len(dropped) == (flags["reason"] == "").sum()
    show(f"same-template: {len(dropped)}", map(told, dropped.itertuples()))


COPY = "There were 28 bales of hay in the barn"


def test_a_lower_threshold_finds_small_edits(flags: pd.DataFrame) -> None:
    """A word more in a short text makes 0.76; with 32 bands and 0.7 it is found."""
    mawps = flags[(flags["source"] == "mawps") & flags["reason"].isin(["", *DUPLICATES])].reset_index(drop=True)
    shingles, columns = ngrams(tokenised(mawps["problem"].tolist()), 5), ["uuid", "subset", "correctness_count"]
    hay = np.flatnonzero(mawps["problem"].str.startswith(COPY))
    for threshold, bands in ((0.8, 16), (0.7, 32)):
        settings = Deduplication(threshold=threshold, bands=bands)
        kept = clusters(mawps[[*columns, "problem", "answer"]], shingles, settings).kept
        conflicts = conflicting(mawps["answer"], kept)
        print(
            f"{threshold}, {bands} bands, MAWPS: {(kept != np.arange(len(kept))).sum()} rows are copies of others; "
            f"{len(set(kept[conflicts]))} clusters with other answers"
        )
        assert (kept[hay[0]] == kept[hay[1]]) == (threshold == 0.7)


def test_the_filters_on_the_benchmarks_questions_and_answers(real: Path, questions: dict[str, Path]) -> None:
    """Real competition problems: what the filters find in them, looked through by a person."""
    texts = read_questions(questions)
    found = {
        name: Counter(reason for text in texts[name] for reason, test in TESTS.items() if test(text)) for name in texts
    }
    print("questions:", {name: dict(counts) for name, counts in found.items()})
    assert found["math_500"]["options"] == 3, "two ask for a letter, one for the largest of five"
    assert found["math_500"]["multi-part"] == found["math_500"]["proof-wording"] == found["aime24"]["options"] == 0
    assert found["gsm8k"].total() <= 1, "one says that a report card needs to show that ..."
    answers = [unboxed(row["answer"]) for _, row in read_objects(real / "benchmarks" / "math_500" / "test.jsonl")]
    several = [answer for answer in answers if several_values(answer)]
    others = [answer for answer in answers if answer not in several and not_a_value(answer)]
    assert all("," in answer or "pm" in answer for answer in several)
    assert all("text" in answer or "matrix" in answer or "=" in answer for answer in others)
    print(f"answers of MATH-500: {len(several)} with several values, {len(others)} others that are no value")
    show("several", several, 30)
    show("others", others, 30)


# --- decontamination -------------------------------------------------------------------------------

BEFORE = "Please read the following carefully, since it is a question about quantities."


def _renumbered(text: str) -> str:
    """Other digits for every digit, as a generator of problems would put them."""
    return re.sub(r"\d+", lambda found: "".join(str((int(digit) + 3) % 9 + 1) for digit in found[0]), text)


def _plant(texts: list[str], change: Callable[[str], str], file: Path) -> set[str]:
    """Write the changed texts as problems; returns them."""
    made = [change(text) for text in texts]
    file.write_text("".join(json.dumps({"problem": text, "answer": str(n)}) + "\n" for n, text in enumerate(made)))
    return set(made)


def test_planted_questions_are_found(
    real: Path, questions: dict[str, Path], tokenizer_folder: Path, tmp_path: Path
) -> None:
    every_tenth = read_questions(questions)["gsm8k"][::10]
    assert len(every_tenth) == 132
    planted = {
        "as they are": _plant(every_tenth, str, tmp_path / "same.jsonl"),
        "renumbered": _plant(every_tenth, _renumbered, tmp_path / "renumbered.jsonl"),
        "after a sentence": _plant(every_tenth, lambda text: f"{BEFORE} {text}", tmp_path / "after.jsonl"),
    }
    source = word_problems(real, *(tmp_path / f"{name}.jsonl" for name in ("same", "renumbered", "after")))
    flags = flags_of(make(source, tmp_path, tokenizer_folder, questions), source)
    counts = {}
    for name, texts in planted.items():
        rows = flags[flags["problem"].isin(texts)].drop_duplicates("problem")
        rules = {rule: int(rows[f"found-by-{rule}"].sum()) for rule in Decontamination().rules}
        counts[name] = int(rows["contaminated"].sum())
        print(f"{name}: {counts[name]} of {len(rows)} found; by rule {rules}")
    assert counts["as they are"] == counts["after a sentence"] == 132
    assert counts["renumbered"] >= 130
    _show_paper(planted, every_tenth, questions)


def _show_paper(planted: dict[str, set[str]], items: list[str], questions: dict[str, Path]) -> None:
    """What MinHash-LSH alone, the preset `paper`, would find."""
    settings, dedup = Decontamination(rules=("lsh",)), Deduplication(mode="paper")
    every = contamination.Prepared.of(tokenised(read_questions(questions)["gsm8k"]), settings, dedup)
    for name, texts in planted.items():
        prepared = contamination.Prepared.of(tokenised(sorted(texts)), settings, dedup)
        hits = contamination.found(prepared, every, settings)["lsh"]
        print(f"preset paper, {name}: {int(hits.sum())} of {len(items)} found")


def test_the_real_overlap_with_the_benchmarks(flags: pd.DataFrame) -> None:
    """Few rows of these sets are in a benchmark: GSM8K's own training split shares stories with its test split."""
    found = flags[flags["reason"].isin(["contaminated", "contaminated-cluster"])]
    assert 0 < len(found) < 20
    show(f"contaminated: {len(found)}", map(told, found.itertuples()), 20)


# --- rows with generations -------------------------------------------------------------------------

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def _boxed(text: str) -> str:
    """A solution of GSM8K's file with its last line, "A: 18", as a box."""
    return re.sub(r"^A: *(.*)$", r"\\boxed{\1}", text, flags=re.MULTILINE)


def _openr1_rows(real: Path) -> Iterator[dict[str, Any]]:
    for number, (_, row) in enumerate(read_objects(real / "answers" / "gsm8k_solutions.jsonl")):
        verdicts = [row[model]["is_correct"] for model in MODELS]
        yield {
            "problem": row["question"],
            "solution": _boxed(row["ground_truth"]),
            "answer": row["ground_truth"].rpartition("A: ")[2],
            "problem_type": "Algebra",
            "question_type": "math-word-problem",
            "source": "gsm8k",
            "uuid": f"{number:04d}",
            "is_reasoning_complete": [True] * 4,
            "generations": [_boxed(row[model]["solution"]) for model in MODELS],
            "correctness_math_verify": verdicts,
            "correctness_llama": None,
            "finish_reasons": ["stop"] * 4,
            "correctness_count": sum(verdicts),
            "messages": None,
        }


@pytest.fixture(scope="module")
def openr1(real: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """1,319 problems of four labelled generations each in OpenR1-Math's schema and folders; and the same as a table."""
    folder = tmp_path_factory.mktemp("openr1")
    rows = list(_openr1_rows(real))
    for name, part in (("data", rows[:900]), ("extended", rows[900:])):
        (folder / "shards" / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(part, schema=SCHEMA), folder / "shards" / name / "train-0.parquet")
    prepare(local(folder / "shards"), folder / "source", quiet)
    return folder, pd.DataFrame(rows).set_index("uuid")


def _chain(folder: Path, tokenizer: Path, questions: dict[str, Path], out: Path) -> None:
    quotas = Quotas(default_mixed=400, default_correct=60, extended_mixed=200, extended_correct=30)
    data = Data(source=local(folder / "shards"), quotas=quotas, validation_rows=64, **SETTINGS)
    build(data, folder / "source", tokenizer, questions, out, 1, quiet)


def test_rows_with_generations_without_decontamination(
    openr1: tuple[Path, pd.DataFrame], tokenizer_folder: Path, tmp_path: Path
) -> None:
    folder, rows = openr1
    _chain(folder, tokenizer_folder, {}, tmp_path / "out")
    flags = read_flags(tmp_path / "out").set_index("uuid").loc[rows.index]
    assert len(flags) == 1319 and not flags["contaminated"].any()
    right = rows["correctness_math_verify"].map(sum)
    expected = right.map(lambda count: {0: "incorrect", 4: "correct"}.get(count, "mixed"))
    assert (flags["bucket"] == expected).all()
    print(f"buckets: {Counter(expected)}")
    # The labels are right, so a row without a match is one whose every box is another value: here there is none, since
    # the solution has the answer in its box.
    assert not flags["no-boxed-match"].any()
    assert not flags[["few-generations", "long-response", "long-prompt"]].any(axis=None)
    _check_lengths(flags, rows, tokenizer_folder)
    print(f"left by reason: {Counter(flags['reason'].replace('', 'sampled'))}")


def _check_lengths(flags: pd.DataFrame, rows: pd.DataFrame, folder: Path) -> None:
    """By the tokenizer itself: the prompt with its template, and the boxed generation of fewest characters."""
    tokenizer = load_tokenizer(folder)
    for uuid, row in rows.iloc[::13].iterrows():
        chat = tokenizer.apply_chat_template(prompt(row["problem"]), add_generation_prompt=True, return_dict=False)
        assert flags["prompt_tokens"][uuid] == len(chat)
        boxed = [text for text in row["generations"] if extract_boxed(text) is not None]
        shortest = min(boxed, key=len)
        assert flags["response_tokens"][uuid] == len(tokenizer(shortest, add_special_tokens=False)["input_ids"])


def test_the_boxed_match_agrees_with_the_labels(openr1: tuple[Path, pd.DataFrame]) -> None:
    """A row matches by its generations alone exactly if one of them is labelled right."""
    _, rows = openr1
    matches = [
        any(answers_equivalent(extract_boxed(text) or "", row.answer) for text in row.generations)
        for row in rows.itertuples()
    ]
    labelled = rows["correctness_math_verify"].map(any).to_numpy()
    print(f"rows with a right generation: {int(labelled.sum())}; matches that differ: {(labelled != matches).sum()}")
    assert (labelled == np.array(matches)).all()


def test_every_row_goes_with_decontamination(
    openr1: tuple[Path, pd.DataFrame], questions: dict[str, Path], tokenizer_folder: Path, tmp_path: Path
) -> None:
    """They are GSM8K's test split."""
    folder, rows = openr1
    with pytest.raises(UserError, match=r"data\.validation_rows: 64 of the 0 rows"):
        _chain(folder, tokenizer_folder, questions, tmp_path / "out")
    items = read_questions(questions)["gsm8k"]
    settings, dedup = Decontamination(), Deduplication()
    texts, prepared = (
        contamination.Prepared.of(tokenised(part), settings, dedup) for part in (rows["problem"].tolist(), items)
    )
    found = contamination.found(texts, prepared, settings)
    assert np.logical_or.reduce([found[rule] for rule in settings.rules]).all()
    for rule in ("exact", "digitless", "jaccard", "words", "containment"):
        print(f"{rule}: {int(found[rule].sum())} of 1319")
    assert found["exact"].all() and found["jaccard"].all() and found["words"].all()
