"""Quotas, proportions, fill-in, the split and the funnel."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from chain import QUOTAS
from hypothesis import given
from hypothesis import strategies as st

from egpo.common.errors import UserError
from egpo.data.funnel import ALL, funnel, markdown
from egpo.data.pool import ORDER
from egpo.data.sample import allocate, sample, split
from egpo.data.sample import strata as rows_by_stratum
from egpo.data.schema import FOLDERS


def strata(size: int, **sizes: int) -> pd.DataFrame:
    """Rows of every stratum, of two sources, a third of the rows of the second; sizes: by subset_bucket."""
    rows = [
        (f"{subset}-{kind}-{index}", subset, kind, "few" if index % 3 == 0 else "many")
        for subset in FOLDERS
        for kind in ("mixed", "correct", "incorrect")
        for index in range(sizes.get(f"{subset}_{kind}", size))
    ]
    return pd.DataFrame(rows, columns=["uuid", "subset", "bucket", "source"])


def drawn(rows: pd.DataFrame, quotas=QUOTAS, cap=None, deficit=0.0, seed=1):
    return sample(rows, quotas, cap, deficit, seed)


def pool_of(rows: pd.DataFrame, **settings) -> pd.DataFrame:
    return rows[drawn(rows, **settings).reasons == ""]


sources = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 60), max_size=6)


@given(sources, st.integers(0, 100))
def test_largest_remainder(available, quota):
    given_ = allocate(available, quota, None)
    total = sum(available.values())
    assert sum(given_.values()) == min(quota, total)
    for name, rows in available.items():
        assert given_[name] <= rows
        if quota < total:
            assert abs(given_[name] - quota * rows / total) < 1


@given(sources, st.integers(1, 100), st.sampled_from([0.2, 0.3, 0.5]))
def test_a_cap_holds_and_the_others_take_over(available, quota, cap):
    given_ = allocate(available, quota, cap)
    limits = {name: min(rows, int(quota * cap + 1e-9)) for name, rows in available.items()}
    assert all(given_[name] <= limits[name] for name in available)
    assert sum(given_.values()) == min(quota, sum(limits.values()))


@given(sources, st.integers(0, 100), st.randoms())
def test_the_order_of_sources_does_not_matter(available, quota, rng):
    names = list(available)
    rng.shuffle(names)
    assert allocate({name: available[name] for name in names}, quota, None) == allocate(available, quota, None)


def test_equal_remainders_go_by_name():
    assert allocate({"b": 1, "c": 1, "a": 1}, 2, None) == {"a": 1, "b": 1, "c": 0}


def test_quotas_are_met_in_proportion_and_order_does_not_matter():
    rows = strata(70)
    chosen = pool_of(rows)
    assert chosen.groupby(["subset", "bucket"]).size().to_dict() == rows_by_stratum(QUOTAS)
    mixed = chosen[(chosen["subset"] == "default") & (chosen["bucket"] == "mixed")]
    assert Counter(mixed["source"]) == {"many": 39, "few": 21}  # 60 of 70, by 46 and 24 rows: 39.4 and 20.6
    shuffled = rows.sample(frac=1, random_state=5)
    assert set(pool_of(shuffled)["uuid"]) == set(chosen["uuid"])
    assert set(pool_of(rows, seed=2)["uuid"]) != set(chosen["uuid"])
    capped = pool_of(rows, cap=0.6)
    assert Counter(capped[capped["uuid"].str.startswith("default-mixed")]["source"]) == {"many": 36, "few": 24}


def test_a_larger_quota_only_adds_rows():
    rows = strata(70).assign(source="one")
    more = QUOTAS.model_copy(update={"default_mixed": 65})
    small, large = (set(pool_of(rows, quotas=quotas)["uuid"]) for quotas in (QUOTAS, more))
    assert small < large and len(large) == len(small) + 5


def test_a_shortage_is_filled_in_a_fixed_order_and_named():
    """First the same subset's other bucket, then the other subset, last entirely-incorrect rows."""
    rows = strata(70, default_mixed=50, default_correct=44, extended_mixed=23, extended_correct=16)
    made = drawn(rows, deficit=1.0)
    assert made.deficits == {("default", "mixed"): 10}
    assert made.filled == {
        ("default", "mixed"): {
            ("default", "correct"): 4,
            ("extended", "mixed"): 3,
            ("extended", "correct"): 1,
            ("default", "incorrect"): 2,
        }
    }
    assert (made.reasons == "").sum() == QUOTAS.total
    assert (made.reasons == "entirely-incorrect").sum() == 138


def test_what_nothing_can_fill_stays_a_deficit():
    rows = strata(0, default_mixed=50, default_correct=40, extended_mixed=20, extended_correct=15)
    made = drawn(rows, deficit=0.1)
    assert made.deficits == {("default", "mixed"): 10} and made.filled == {}
    assert (made.reasons == "").sum() == 125


def test_too_large_a_deficit_names_every_short_stratum():
    with pytest.raises(UserError) as error:
        drawn(strata(30), deficit=0.01)
    assert "data.quotas.default_mixed: 60 rows asked, 30 available" in str(error.value)
    assert "data.quotas.default_correct: 40 rows asked, 30 available" in str(error.value)
    assert "extended" not in str(error.value)
    assert "40 of 135 rows are missing, data.max_deficit allows 1%" in str(error.value)
    drawn(strata(59), deficit=0.01)


def test_the_split():
    pool = strata(10)
    parts = split(pool, set(), 16, seed=1)
    assert Counter(parts) == {"validation": 16, "train": 44}
    near = set(pool.index[parts == "validation"][:3])
    again = split(pool, near, 16, seed=1)
    assert (again[list(near)] == "train").all() and (again == "validation").sum() == 16
    shuffled = split(pool.sample(frac=1, random_state=1), set(), 16, seed=1)
    assert shuffled.sort_index().equals(parts)


def test_a_validation_split_that_leaves_nothing_to_train_on():
    with pytest.raises(UserError, match=r"data\.validation_rows: 6 of the 6 rows"):
        split(strata(1), set(), 6, seed=1)
    with pytest.raises(UserError, match="2 of them without a near-duplicate"):
        split(strata(1), {0, 1, 2, 3}, 3, seed=1)


# --- funnel --------------------------------------------------------------------------------------


def test_funnel_refuses_a_reason_that_it_does_not_know():
    rows = pd.DataFrame({"subset": ["default"], "bucket": ["mixed"], "source": ["a"], "reason": ["lost"]})
    with pytest.raises(ValueError, match="lost"):
        funnel(rows, ORDER)


def test_funnel_counts_by_subset_bucket_and_source():
    rows = strata(4)
    rows["reason"] = ["no-answer", "", "", ""] * 6
    table = funnel(rows, ORDER)
    assert set(table["step"]) == set(ORDER)
    assert len(table) == len(ORDER) * (1 + 6 * 2)
    dropped = table[(table["step"] == "no-answer") & (table["subset"] == "default") & (table["bucket"] == "mixed")]
    assert dropped.set_index("source")[["in", "dropped", "out"]].T.to_dict("list") == {
        "few": [2, 1, 1],
        "many": [2, 0, 2],
    }
    dropped = [{"step": "no-answer", "uuid": "a", "problem": "Is 1 | 2?\nSay." + " more" * 30, "answer": "7 < 8"}]
    text = markdown(table, dropped, "A note.")
    assert "| no-answer | 24 | 6 | 18 | 3 | 3 | 3 | 3 | 3 | 3 |" in text
    assert "| no-answer | 6 | 12 |" in text.split("## What is left of each source")[1]
    example = text.split("## Examples")[1]
    assert r"| no-answer | a | Is 1 \| 2? Say. more" in example and "more… | 7 &lt; 8 |" in example
    assert text == markdown(table, dropped, "") + "\nA note.\n"


def test_a_source_that_looks_like_a_missing_value_is_kept(tmp_path: Path):
    """pandas reads 'nan' or 'NA' as missing unless it is told not to."""
    rows = strata(2).assign(source="NA", reason="")
    file = tmp_path / "funnel.csv"
    funnel(rows, ORDER).to_csv(file, index=False)
    read = pd.read_csv(file, keep_default_na=False)
    assert set(read["source"]) == {ALL, "NA"} and json.dumps(read["out"].iloc[0].item()) == "12"
