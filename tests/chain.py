"""What the tests of the data chain share: small sources, a tokenizer, and a build of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd

from egpo.config.data import Data, LocalSource, Quotas, StandInSource
from egpo.data.build import build
from egpo.data.card import write_card
from egpo.data.schema import Row, read_shard, shards
from egpo.synthetic.planted import EVALUATION_SETS

NOTE = "Synthetic and tiny."
QUOTAS = Quotas(default_mixed=60, default_correct=40, extended_mixed=20, extended_correct=15)
STANDIN = StandInSource(kind="standin", seed=3, default_rows=400, extended_rows=200, rows_per_shard=150)
PLANTED = STANDIN.model_copy(update={"planted": True})
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
BUILT = ("train.parquet", "validation.parquet", "flags.parquet", "examples.json")
CARD = ("README.md", "funnel.csv", "funnel.md")


def quiet(message: str) -> None:
    pass


def local(folder: Path) -> LocalSource:
    return LocalSource(kind="local", path=folder)


def read_rows(folder: Path) -> list[Row]:
    """All rows of the shards in a folder."""
    return [
        row
        for subset, files in shards(folder).items()
        for file in files
        for batch in read_shard(file, subset)
        for row in batch
    ]


def write_evaluation_sets(folder: Path) -> dict[str, Path]:
    """The planted evaluation sets, as the rule benchmark_questions would write them."""
    files = {}
    for name, texts in EVALUATION_SETS.items():
        files[name] = folder / f"{name}.questions.jsonl"
        files[name].write_text("".join(json.dumps(text) + "\n" for text in texts))
    return files


def build_small(source: Path, tokenizer: Path, out: Path, data: Data = DATA, workers: int = 1) -> None:
    """The chain on a prepared source, against the planted evaluation sets, and its card."""
    build(data, source, tokenizer, write_evaluation_sets(tokenizer), out, workers, quiet)
    card_of(out, out)


def card_of(pool: Path, out: Path, note: str = NOTE) -> None:
    """The card and the funnel of a pool, as the rule data_card would write them."""
    write_card(pool / "flags.parquet", pool / "manifest.json", pool / "examples.json", note, out)


def read_flags(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "flags.parquet")


def hashes(out: Path) -> dict[str, str]:
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in (*BUILT, "funnel.csv", "funnel.md")}
