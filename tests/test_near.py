"""Tokens, signatures, pairs and clusters of many texts at once, against regular expressions, datasketch and sets."""

from __future__ import annotations

import re
from itertools import combinations
from random import Random

import numpy as np
import pandas as pd
import pytest
from chain import DATA, STANDIN
from datasketch import MinHash, MinHashLSH
from hypothesis import given
from hypothesis import strategies as st

from egpo.config.data import Decontamination, Deduplication
from egpo.data import contamination
from egpo.data.deduplicate import beyond, clusters, conflicting, near_pairs, numbers_of, parameters
from egpo.data.minhash import band_keys, hash32, layout, signatures
from egpo.data.near import all_pairs, components, distinct, exact_pairs, incidence, jaccard, neighbours
from egpo.data.ngrams import Ngrams, ngrams, whole_texts
from egpo.data.pool import _missed
from egpo.data.tokens import NUMBER, SIGN, WORD, tokenised
from egpo.synthetic.problems import draw_problem
from egpo.synthetic.standin import standin_row

PAPER, VERIFIED = Deduplication(mode="paper"), Deduplication(mode="verified")
# The oracle: the same definition of a token, as a regular expression.
TOKEN = re.compile(r"\d+|[^\W\d_]+|[^\w\s$]|_")
# Of every kind: letters of several scripts, digits that are not ASCII, signs, blanks, what lower() lengthens.
ALPHABET = "aB ß$1٣²_+-\\{}\n\tİé中😀."


def words(text: str) -> list[str]:
    return TOKEN.findall(text.lower())


def shingles(text: str, size: int = 5) -> set[tuple[str, ...]]:
    made = words(text)
    return {tuple(made[start : start + size]) for start in range(max(1, len(made) - size + 1))} if made else set()


def similarity(one: str, other: str) -> float:
    first, second = shingles(one), shingles(other)
    return len(first & second) / len(first | second)


def hashes_of(made: Ngrams, text: int) -> set[int]:
    return set(made.hashes[made.starts[text] : made.starts[text + 1]].tolist())


def families(count: int, seed: int = 1) -> list[str]:
    """Texts of 5 to 80 words, a third of them changes of an earlier one, from none to a few words."""
    rng = Random(seed)
    vocabulary = ["".join(rng.choices("abcdefgh", k=rng.randint(1, 6))) for _ in range(400)] + list("0123456789+-=")
    texts: list[str] = []
    for _ in range(count):
        if texts and rng.random() < 0.35:
            text = rng.choice(texts).split(" ")
            for _ in range(rng.randrange(4)):
                text[rng.randrange(len(text))] = rng.choice(vocabulary)
        else:
            text = rng.choices(vocabulary, k=rng.randint(5, 80))
        texts.append(" ".join(text))
    return texts


# --- tokens and n-grams --------------------------------------------------------------------------


@given(st.lists(st.text(alphabet=ALPHABET, max_size=25), max_size=6))
def test_tokens_are_those_of_the_expression(texts: list[str]) -> None:
    tokens = tokenised(texts)
    expected = [words(text) for text in texts]
    assert np.diff(tokens.starts).tolist() == [len(part) for part in expected]
    flat = [word for part in expected for word in part]
    assert len(set(flat)) == len(set(tokens.hashes.tolist()))
    by_word: dict[str, int] = {}
    for word, number, kind in zip(flat, tokens.hashes.tolist(), tokens.kinds.tolist(), strict=True):
        assert by_word.setdefault(word, number) == number
        assert kind == (NUMBER if word.isdecimal() else WORD if word.isalnum() else SIGN)


@given(st.lists(st.text(alphabet="ab1 +", max_size=30), min_size=1, max_size=6), st.integers(1, 6), st.booleans())
def test_ngrams_are_those_of_the_words(texts: list[str], size: int, short: bool) -> None:
    made = ngrams(tokenised(texts), size, short)
    expected = [{ngram for ngram in shingles(text, size) if short or len(ngram) == size} for text in texts]
    assert [len(hashes_of(made, index)) for index in range(len(texts))] == [len(part) for part in expected]
    for (left, one), (right, other) in combinations(enumerate(expected), 2):
        assert len(hashes_of(made, left) & hashes_of(made, right)) == len(one & other)


def test_chunks_do_not_show() -> None:
    texts = families(700)
    tokens, made = tokenised(texts), ngrams(tokenised(texts), 5)
    for index in (0, 127, 128, 500, 699):
        alone = ngrams(tokenised([texts[index]]), 5)
        assert made.hashes[made.starts[index] : made.starts[index + 1]].tolist() == alone.hashes.tolist()
    assert len(whole_texts(tokens)) == 700


def test_digits_and_operators_count_and_dollars_do_not() -> None:
    same = whole_texts(tokenised(["Find $x$  in 2x = 10.", "find x in 2X=10.", "x+y=3", "x-y=3", "", " $ "]))
    assert same[0] == same[1] and same[2] != same[3]
    assert same[4] == same[5] == 0


def test_what_a_word_processor_makes_of_a_text_is_the_same_text() -> None:
    plain = ['Ann\'s "five" - 1000 or 12345678.5?', "f(1,2), 12,34", "x-1"]
    other = ["Ann\u2019s \u201cfive\u201d \u2013 1,000 or 12,345,678.5?", "f(1,2), 12,34", "x\u22121"]
    assert (whole_texts(tokenised(plain)) == whole_texts(tokenised(other))).all()
    latex = whole_texts(tokenised(["1{,}000", r"1\,000", "1,000", "1000", "1,00", "1,0000", "(1, 000)"]))
    assert len(set(latex[:4].tolist())) == 1 and len(set(latex.tolist())) == 4


def test_kinds_can_be_left_out() -> None:
    one, other = tokenised(["Add 3 and 4."]), tokenised(["Add 77 and 4."])
    assert whole_texts(one) != whole_texts(other)
    assert whole_texts(one.of_kinds(WORD, SIGN)) == whole_texts(other.of_kinds(WORD, SIGN))
    assert len(one.of_kinds(NUMBER).hashes) == 2


def test_nothing_at_all() -> None:
    for texts in ([], ["", " "]):
        made = ngrams(tokenised(texts), 5)
        assert len(made.hashes) == 0 and made.counts.tolist() == [0] * len(texts)
        assert len(exact_pairs(made, 0.8)) == 0
        assert len(near_pairs(made, VERIFIED)[0]) == 0


# --- datasketch ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts() -> list[str]:
    problems = [standin_row(STANDIN, "default", index)["problem"] for index in range(500)]
    return list(dict.fromkeys(families(2500))) + problems


def sketch(hashes: np.ndarray) -> MinHash:
    """datasketch's signature of the given hashes."""
    made = MinHash(num_perm=128, hashfunc=int, scheme="affine32", seed=1)
    made.update_batch(hash32(hashes).tolist())
    return made


def test_signatures_are_datasketchs_own(texts: list[str]) -> None:
    made = ngrams(tokenised(texts), 5)
    found = np.concatenate([part for _, part in signatures(made, 128)])
    assert found.shape == (len(texts), 128)
    for index in range(len(texts)):
        expected = sketch(made.hashes[made.starts[index] : made.starts[index + 1]]).hashvalues
        assert (found[index] == expected).all()


@pytest.mark.parametrize(("settings", "shape"), [(PAPER, (9, 13)), (VERIFIED, (16, 8))])
def test_buckets_are_datasketchs_own(texts: list[str], settings: Deduplication, shape: tuple[int, int]) -> None:
    chosen = layout(settings)
    assert (chosen.bands, chosen.rows) == shape
    lsh = MinHashLSH(threshold=0.8, num_perm=128) if settings is PAPER else MinHashLSH(num_perm=128, params=shape)
    made = ngrams(tokenised(texts), 5)
    expected = set()
    for index in range(len(texts)):
        signature = sketch(made.hashes[made.starts[index] : made.starts[index + 1]])
        expected |= {(other, index) for other in lsh.query(signature)}
        lsh.insert(index, signature)
    keys = band_keys(made, 128, chosen)
    everyone = np.arange(len(texts))
    found = distinct([pairs for column in keys.T for pairs in all_pairs(column, everyone)], len(texts))
    assert len(expected) > 100, "the sample must hold duplicates for this to mean anything"
    assert set(map(tuple, found.tolist())) == expected
    if settings is PAPER:
        connected = components(near_pairs(made, PAPER)[0], len(texts))
        assert connected.tolist() == components(np.array(sorted(expected)), len(texts)).tolist()


def test_an_empty_set_has_no_signature() -> None:
    with pytest.raises(ValueError, match="no signature"):
        list(signatures(ngrams(tokenised(["a", ""]), 5), 128))


# --- pairs ---------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), max_size=12))
def test_pairs_of_a_bucket(keys: list[int]) -> None:
    members = np.arange(len(keys)) * 3
    twos = combinations(range(len(keys)), 2)
    expected = {(int(members[one]), int(members[other])) for one, other in twos if keys[one] == keys[other]}
    pairs = [tuple(pair) for part in all_pairs(np.array(keys), members) for pair in part.tolist()]
    assert len(pairs) == len(expected) and set(pairs) == expected
    count = 3 * len(keys) + 1
    connected = components(neighbours(np.array(keys), members), count)
    assert connected.tolist() == components(distinct([np.array(pairs).reshape(-1, 2)], count), count).tolist()


def test_exact_similarity_and_the_exact_join_against_brute_force() -> None:
    texts = families(400, seed=5)
    made = ngrams(tokenised(texts), 5)
    every = np.array(list(combinations(range(len(texts)), 2)))
    expected = [similarity(texts[one], texts[other]) for one, other in every]
    assert jaccard(made, every) == pytest.approx(expected)
    for threshold in (0.5, 0.8, 1.0):
        near = {tuple(pair) for pair, value in zip(every.tolist(), expected, strict=True) if value >= threshold}
        assert len(near) > 20
        assert set(map(tuple, exact_pairs(made, threshold).tolist())) == near


def test_counting_leaves_the_ngrams_as_they_are() -> None:
    """A text that repeats an n-gram has fewer different ones; the matrix of those must not move its starts."""
    made = ngrams(tokenised(["a b a b a b a b", "c d e f g h", "a b a b a b"]), 5)
    before = made.starts.copy()
    assert np.diff(incidence(made).indptr).tolist() == [2, 2, 2]
    assert made.starts.tolist() == before.tolist() and np.diff(incidence(made).indptr).tolist() == [2, 2, 2]


def test_items_that_repeat_themselves_are_found_by_every_rule() -> None:
    """Texts with repeated n-grams, as real ones have: each is its own item, and contains all of it."""
    rng = Random(3)
    items = [" ".join(rng.choices(["one", "two", "three"], k=60)) for _ in range(40)]
    settings = Decontamination()
    texts, other = (contamination.Prepared.of(tokenised(items), settings, VERIFIED) for _ in range(2))
    found = contamination.found(texts, other, settings)
    assert {rule: int(found[rule].sum()) for rule in settings.rules} == dict.fromkeys(settings.rules, 40)


def test_verified_pairs_are_right_and_nearly_all() -> None:
    """Recall against the exact join; precision must be 1."""
    made = ngrams(tokenised(families(6000, seed=2)), 5)
    exact = set(map(tuple, exact_pairs(made, 0.8).tolist()))
    pairs, counts = near_pairs(made, VERIFIED)
    found = set(map(tuple, pairs.tolist()))
    assert len(exact) > 1000
    assert found <= exact
    assert len(found) >= 0.99 * len(exact)
    assert counts["candidates"] == counts["checked"] > counts["accepted"] == len(found)


# --- clusters ------------------------------------------------------------------------------------


def rows_of(texts: list[str], **columns: list) -> pd.DataFrame:
    base = {
        "uuid": [f"{index:03d}" for index in range(len(texts))],
        "subset": "default",
        "correctness_count": 1,
        "answer": "1",
    }
    return pd.DataFrame({**base, "problem": texts, **columns})


def kept(rows: pd.DataFrame, settings: Deduplication = VERIFIED) -> list[int]:
    return clusters(rows, ngrams(tokenised(rows["problem"].tolist()), settings.ngram_size), settings).kept.tolist()


def test_which_row_of_a_cluster_is_kept() -> None:
    texts = ["What is 3 + 4?"] * 4
    columns = {"subset": ["extended", "default", "default", "default"], "correctness_count": [9, 1, 2, 2]}
    rows = rows_of(texts, **columns, uuid=["a", "d", "c", "b"])
    assert kept(rows) == [3] * 4
    assert kept(rows, PAPER) == [3] * 4


def test_the_order_of_rows_does_not_matter() -> None:
    texts = families(300, seed=7)
    rows = rows_of(texts)
    shuffled = rows.sample(frac=1, random_state=3)
    for settings in (PAPER, VERIFIED):
        expected = dict(zip(rows["uuid"], rows["uuid"].to_numpy()[kept(rows, settings)], strict=True))
        found = dict(zip(shuffled["uuid"], shuffled["uuid"].to_numpy()[kept(shuffled, settings)], strict=True))
        assert found == expected


def test_texts_without_tokens_are_not_duplicates() -> None:
    texts = ["", " ", "What is 3 + 4?", "what is 3+4?", "What is 4 + 3?"]
    assert kept(rows_of(texts)) == [0, 1, 2, 2, 4]


def test_a_pair_below_the_threshold_is_none_once_it_is_verified() -> None:
    """datasketch's bands alone accept some pairs below 0.8; the exact check does not."""
    made = ngrams(tokenised(families(6000, seed=2)), 5)
    pairs, _ = near_pairs(made, PAPER)
    assert (jaccard(made, pairs) < 0.8).any()


@pytest.mark.parametrize(
    ("problem", "numbers"),
    [
        ("A pen costs $1,250.50, or 3 for $3,000.", "1250.5 3 3000"),
        ("0.50 and .5 and 00.5", "0.5 0.5 0.5"),
        ("(1,2), 12,34 and 1,2345", "1 2 12 34 1 2345"),
        ("Ellen has six balls, half of Marin's twelve; someone has 6.", "6 half 12 6"),
        ("10^{40} and 12345678901234567890123456789012345678901", "10 40 12345678901234567890123456789012345678901"),
        ("None. Ten-fold", "10"),
        ("x+y", ""),
    ],
)
def test_the_numbers_of_a_text(problem: str, numbers: str) -> None:
    assert " ".join(numbers_of(problem)) == numbers


STORY = (
    "There were {} friends playing a video game online when {} more friends joined in. If each one had {} lives, how "
)
STORY += "many lives did they have altogether in the {} that they played together that day?"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("2", "2", "6", "game", "24"), ("8", "2", "6", "game", "60"), False),  # a story with other numbers
        (("2", "2", "6", "game", "24"), ("8", "2", "6", "game", "24"), False),  # whatever the answer
        (("two", "2", "6", "game", "24"), ("eight", "2", "6", "game", "60"), False),
        (("two", "2", "1,000", "game", "4000"), ("2", "2", "1000", "game", "4000"), True),
        (("2", "2", "6", "game", "24"), ("2", "2", "6", "match", "24"), True),
        (("2", "2", "6", "game", "24"), ("2", "2", "6", "match", "60"), True),  # a conflict: one of them is wrong
        (("2", "2", "6.0", "game", "24"), ("2", "2", "6", "game", "24"), True),
        (("2", "2", "6", "game", "24"), ("2", "2", "6", "game (of 3 hours)", "24"), True),
        (("2", "2", "6", "game", "24"), ("2", "2", "6", "3 games", "72"), False),  # another problem, not a conflict
        (("2", "8", "6", "game", "60"), ("8", "2", "6", "game", "60"), False),
    ],
)
def test_which_similar_texts_are_one_problem(one: tuple[str, ...], other: tuple[str, ...], same: bool) -> None:
    texts, answers = [STORY.format(*row[:4]) for row in (one, other)], [row[4] for row in (one, other)]
    rows = rows_of(texts, answer=answers)
    assert len(exact_pairs(ngrams(tokenised(texts), 5), 0.5)), "similar they are"
    loose = VERIFIED.model_copy(update={"threshold": 0.5, "bands": 64})
    made = clusters(rows, ngrams(tokenised(texts), 5), loose)
    assert made.similar.tolist() == [0, 0]
    assert made.kept.tolist() == ([0, 0] if same else [0, 1])
    assert made.counts["other_numbers"] == (0 if same else 1)


def test_in_paper_mode_numbers_do_not_count() -> None:
    filler = " ".join(f"word{chr(97 + index % 26)}{chr(97 + index // 26)}" for index in range(200))
    rows = rows_of([f"{filler} 2 more", f"{filler} 8 more"], answer=["24", "60"])
    assert kept(rows, PAPER) == [0, 0] and kept(rows) == [0, 1]


def test_at_most_so_many_of_a_template() -> None:
    texts = ["Add 1 and 2.", "Add 3 and 4.", "Take 3 from 4.", "Add 5 and 66.", "7", "8"]
    rows = rows_of(texts, subset=["extended", *["default"] * 5])
    templates = whole_texts(tokenised(texts).of_kinds(WORD, SIGN))
    assert beyond(templates, rows, 2).tolist() == [True, False, False, False, False, False]
    assert beyond(templates, rows, 1).tolist() == [True, False, False, True, False, False]


def test_answers_that_differ() -> None:
    answers = pd.Series(["7", "7.0", "8", "1", r"\frac{1}{2}", "0.5", "9"])
    positions = np.array([0, 0, 3, 3, 4, 4, 6])
    assert conflicting(answers, positions).tolist() == [False, False, True, True, False, False, False]


def test_parameters_say_what_the_bands_can_find() -> None:
    assert parameters(PAPER)["found_at"]["0.8"] == pytest.approx(0.40, abs=0.005)
    assert parameters(VERIFIED)["found_at"]["0.8"] == pytest.approx(0.95, abs=0.005)


def test_ordinary_problems_of_the_standin_differ() -> None:
    problems = [draw_problem(Random(index), "train").text for index in range(200)]
    assert len(set(kept(rows_of(problems)))) > 150


def test_what_the_bands_have_missed_is_dropped_for_its_reason() -> None:
    """A cluster with one answer loses the lesser row; one with two answers is dropped."""
    table = rows_of(
        ["a", "b", "c", "d", "e"], answer=["1", "1", "2", "2", "2.0"], subset=["default"] * 4 + ["extended"]
    )
    copies = np.array([[0, 1], [1, 2], [3, 4]])
    lost = _missed(table, copies, DATA)
    assert {reason: rows.tolist() for reason, rows in lost.items()} == {
        "conflicting-answers": [0, 1, 2],
        "near-duplicate": [4],
    }
    keep = DATA.model_copy(update={"deduplication": Deduplication(conflicts="keep")})
    assert {reason: rows.tolist() for reason, rows in _missed(table, copies, keep).items()} == {
        "conflicting-answers": [],
        "near-duplicate": [1, 2, 4],
    }
