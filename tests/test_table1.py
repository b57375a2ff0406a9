"""Table 1 from known records."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from egpo.config import load
from egpo.errors import UserError
from egpo.evaluation.records import METADATA, SCHEMA
from egpo.report.table1 import table1

MADE = {
    "temperature": 0.6,
    "top_p": 0.95,
    "top_k": 20,
    "max_tokens": 64,
    "context": 512,
    "dtype": "float32",
    "evalscope": "1.14.1",
    "vllm": "0.28.0",
}
ITEMS = 10


def write_records(path: Path, right: dict[str, tuple[int, int]], overflow: int = 0) -> Path:
    """Records of ITEMS questions and two trials; right: how many of the first questions are right in each."""
    rows = [
        {
            "benchmark": benchmark,
            "subset": "main",
            "question": question,
            "trial": trial,
            "seed": trial,
            "correct": question < counts[trial - 1],
            "status": "overflow" if question >= ITEMS - overflow else "scored",
            "truncated": question == 9,
        }
        for benchmark, counts in right.items()
        for question in range(ITEMS)
        for trial in (1, 2)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({METADATA: json.dumps(MADE).encode()}))
    pq.write_table(table, path)
    return path


@pytest.fixture
def catalogue(demo):
    source = {"kind": "synthetic", "seed": 1, "templates": "sums"}
    demo["define"] = {
        "benchmarks": {
            name: {"label": label, "adapter": "gsm8k", "source": source, "items": ITEMS, "shots": 0}
            for name, label in (("one", "ONE_1"), ("two", "TWO & 2"))
        }
    }
    demo |= {"benchmarks": ["one", "two"], "training_seeds": [1, 2], "note": "Only\na test: 100% made up."}
    return load(demo, "test")


@pytest.fixture
def records(tmp_path) -> dict:
    right = {
        ("tiny-math", "base", 0): {"one": (3, 5), "two": (8, 8)},
        ("tiny-math", "grpo", 1): {"one": (6, 6), "two": (7, 7)},
        ("tiny-math", "grpo", 2): {"one": (4, 8), "two": (7, 7)},
        ("tiny-math", "egpo", 1): {"one": (9, 9), "two": (8, 8)},
        ("tiny-math", "egpo", 2): {"one": (9, 9), "two": (8, 8)},
    }
    return {
        model: write_records(tmp_path / "-".join(map(str, model)) / "records.parquet", counts, model[1] == "egpo")
        for model, counts in right.items()
    }


@pytest.fixture
def made(catalogue, records, tmp_path) -> Path:
    table1(catalogue, records, tmp_path / "tables")
    return tmp_path / "tables"


def test_markdown(made):
    text = (made / "table1.md").read_text()
    assert "| Model | ONE_1 | TWO & 2 |" in text
    assert re.search(r"\| tiny-math.*\(Base\) \| 40\.00 \| \*\*80\.00\*\* \|", text)
    assert "| + GRPO | 60.00 (+20.00) | 70.00 (-10.00) |" in text
    assert "| + EGPO | **90.00 (+50.00)** | **80.00 (+0.00)** |" in text


def test_csv(made):
    table = pd.read_csv(made / "table1.csv").set_index(["backbone", "method", "benchmark"])
    assert len(table) == 6
    grpo = table.loc["tiny-math", "grpo", "one"]
    assert grpo["accuracy"] == 60
    assert grpo["delta"] == 20
    assert (grpo["n_questions"], grpo["n_trials"], grpo["n_training_seeds"]) == (10, 2, 2)
    # Seed 1: 60 and 60; seed 2: 40 and 80.
    assert grpo["sd_trials"] == pytest.approx(((0 + 20**2 * 2) / 2) ** 0.5, abs=1e-4)
    # Four right answers to questions 0 to 3, three to 4 and 5, one to 6 and 7, none to 8 and 9.
    means = [100] * 4 + [75] * 2 + [25] * 2 + [0] * 2
    assert grpo["se"] == pytest.approx(np.std(means, ddof=1) / 10**0.5, abs=1e-4)
    assert np.isnan(table.loc["tiny-math", "base", "one"]["delta"])
    assert table.loc["tiny-math", "egpo", "one"]["n_overflow"] == 4
    assert table.loc["tiny-math", "grpo", "one"]["n_overflow"] == 0
    assert table.loc["tiny-math", "base", "two"]["n_truncated"] == 2


def test_latex(made):
    text = (made / "table1.tex").read_text()
    assert r"\quad + EGPO & \textbf{90.00 (+50.00)} & \textbf{80.00 (+0.00)} \\" in text
    assert r"Model & ONE\_1 & TWO \& 2 \\" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert not re.search(r"(?<!\\)[%#_]", text.replace(r"\label{tab:main}", ""))
    assert len(re.findall(r"(?<!\\)\{", text)) == len(re.findall(r"(?<!\\)\}", text))
    assert text.count(r"\begin{") == text.count(r"\end{")


@pytest.mark.parametrize("name", ["table1.md", "table1.tex", "table1.csv"])
def test_every_format_says_what_it_is_worth(made, name):
    text = (made / name).read_text().replace("\\", "")
    assert "Only a test: 100% made up." in text
    if name != "table1.csv":
        assert "Questions: ONE_1 10, TWO & 2 10. Trials per question: 2" in text
        assert "temperature 0.6, top-p 0.95, top-k 20, at most 64 tokens" in text
        assert "evalscope 1.14.1" in text
        assert "+ EGPO on ONE_1: 4 overflow" in text
        assert "20 of 200 answers were cut off" in text


def test_records_of_another_size_are_refused(catalogue, records, tmp_path):
    bad = records["tiny-math", "grpo", 2]
    table = pq.read_table(bad)
    pq.write_table(table.filter(pa.compute.less(table["question"], 9)), bad)
    with pytest.raises(UserError, match=r"grpo-2/records\.parquet: holds 9 questions .* asks for 10 and 2"):
        table1(catalogue, records, tmp_path)


def test_a_file_that_is_no_records_is_refused(catalogue, records, tmp_path):
    records["tiny-math", "grpo", 2].write_text("nonsense")
    with pytest.raises(UserError, match=r"records\.parquet: not the records of an evaluation"):
        table1(catalogue, records, tmp_path)
