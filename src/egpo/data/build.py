"""From source rows to the training pool (appendix A.2), its flags and its manifest."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from egpo.common.errors import UserError
from egpo.common.files import atomic_path, sha256, write_json
from egpo.common.json_lines import read_values
from egpo.common.provenance import origin, stage_code
from egpo.config.data import Data
from egpo.data import contamination, deduplicate, sample
from egpo.data.filters import REASONS, noted_reasons
from egpo.data.ngrams import ngrams, whole_texts
from egpo.data.parts import filter_shards
from egpo.data.pool import DUPLICATE_UUID, HELD_OUT, ORDER, Pool, decontaminate, draw, drop_clusters, ordered
from egpo.data.source import prepared
from egpo.data.tokens import SIGN, WORD, tokenised
from egpo.data.verl_rows import verl_row

Report = Callable[[str], None]

ROW_GROUP = 2000
EXAMPLES = 2  # rows shown of each reason
SPLITS = ("train", "validation")


def _question(text: Any, where: str) -> str:
    if not isinstance(text, str):
        raise UserError(f"{where} is not a question: give one JSON string per line.")
    return text


def read_questions(files: dict[str, Path]) -> dict[str, list[str]]:
    """The questions of each evaluation set, from files with one JSON string per line.

    Raises:
        UserError: for a file that is missing, broken or empty.
    """
    questions = {}
    for name, file in files.items():
        try:
            questions[name] = [_question(text, f"{file}: line {number}") for number, text in read_values(file)]
        except UserError as error:
            raise UserError(
                f"{error} Decontamination needs the questions of '{name}'; data.decontamination.benchmarks says of "
                "which benchmarks."
            ) from error
    return questions


def make_pool(table: pd.DataFrame, questions: dict[str, list[str]], data: Data, report: Report) -> Pool:
    """Every step after the row filters.

    Args:
        table: the filtered rows, see `egpo.data.parts.filter_shards`.
        questions: texts of each evaluation set.

    Raises:
        UserError: if there is no row, or not enough for the quotas.
    """
    table = ordered(table, noted_reasons(data))
    _report_drops(table, [DUPLICATE_UUID, *REASONS], report)
    tokens = tokenised(table["problem"].tolist())
    templates = whole_texts(tokens.of_kinds(WORD, SIGN))
    pool = Pool(table, ngrams(tokens, data.deduplication.ngram_size), templates)
    report(f"decontamination against {', '.join(questions) or 'nothing'}: {', '.join(data.decontamination.rules)}")
    decontaminate(pool, tokens, questions, data)
    del tokens  # as large as the shingles
    report(f"near-duplicates: MinHash-LSH over the problem texts, mode {data.deduplication.mode}")
    drop_clusters(pool, data)
    steps = (
        contamination.REASON,
        contamination.CLUSTER,
        deduplicate.CONFLICT,
        deduplicate.REASON,
        deduplicate.TEMPLATE,
    )
    _report_drops(pool.table, steps, report)
    report("sampling by quota")
    draw(pool, data)
    for stratum, missing in pool.found["sampling"]["deficits"].items():
        filled = pool.found["sampling"]["filled"].get(stratum, {})
        others = ", ".join(f"{rows} from {name}" for name, rows in filled.items()) or "nothing to fill it with"
        report(f"  {stratum} is short of {missing} rows: {others}")
    _report_drops(pool.table, [sample.INCORRECT, sample.NOT_SAMPLED, sample.LONG_FINAL_PROMPT], report)
    return pool


def _write_parquet(table: pa.Table, path: Path) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, row_group_size=ROW_GROUP)


def _verl_rows(table: pd.DataFrame, name: str) -> list[dict[str, Any]]:
    part = table.loc[table["split"] == name, ["uuid", "subset", "bucket", "source", "problem", "answer"]]
    rows: list[dict[Any, Any]] = part.to_dict("records")
    return [verl_row(**{**row, "index": index, "split": name}) for index, row in enumerate(rows)]


def _content_hash(rows: list[dict[str, Any]]) -> str:
    """Hash of the rows themselves: the hash of the file also changes with the writer's version."""
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _write_split(table: pd.DataFrame, name: str, out: Path) -> dict[str, Any]:
    """Write one split; returns its number of rows, content hash and file hash."""
    rows = _verl_rows(table, name)
    if not rows:
        raise UserError(f"data.final_prompt_tokens: no row of the {name} split is as short as that. Raise this limit.")
    path = out / f"{name}.parquet"
    _write_parquet(pa.Table.from_pylist(rows), path)
    return {"rows": len(rows), "content": _content_hash(rows), "sha256": sha256(path)}


def _write_flags(table: pd.DataFrame, out: Path) -> None:
    columns = [column for column in table.columns if column not in ("problem", "answer")]
    flags = pa.Table.from_pandas(table[columns], preserve_index=False).replace_schema_metadata(None)
    _write_parquet(flags, out / "flags.parquet")


def examples(table: pd.DataFrame, seed: int) -> list[dict[str, str]]:
    """EXAMPLES rows of each reason, chosen by keyed hash: their step, uuid, problem and answer."""
    chosen = []
    for step in ORDER:
        dropped = table[table["reason"] == step]
        for label in sample.ranked(dropped["uuid"], seed, "example")[:EXAMPLES]:
            row = dropped.loc[label]
            chosen.append({"step": step, **{key: str(row[key]) for key in ("uuid", "problem", "answer")}})
    return chosen


def _report_drops(table: pd.DataFrame, reasons: Iterable[str], report: Report) -> None:
    counts = Counter(table["reason"])
    for reason in reasons:
        if counts[reason]:
            report(f"  {reason}: {counts[reason]} rows dropped")
    report(f"  {counts['']} of {len(table)} rows left")


def build(
    data: Data,
    folder: Path,
    tokenizer: Path | str,
    questions: dict[str, Path],
    out: Path,
    workers: int,
    report: Report,
) -> None:
    """Run the whole chain on a prepared source; workers, shards and order of rows do not change a byte.

    Args:
        folder: the prepared source, see `egpo.data.source.prepare`.
        tokenizer: folder of the tokenizer that counts lengths.
        questions: file of each evaluation set, see `read_questions`.
        out: gets train.parquet, validation.parquet and, if data.heldout_rows is not 0, heldout.parquet, all in verl's
            format; flags.parquet, every source row with each reason; examples.json, some rows of each reason with
            their texts; and last manifest.json. `out`/work keeps the filtered shards.
        workers: processes of the row filters.

    Raises:
        UserError: if source, tokenizer, questions or quotas are wrong.
    """
    source, items = prepared(folder), read_questions(questions)
    parts = filter_shards(source, data, tokenizer, out / "work", workers, report)
    table = pa.concat_tables([pq.read_table(part) for part in parts]).to_pandas()
    table["response_tokens"] = table["response_tokens"].astype("Int32")
    pool = make_pool(table, items, data, report)

    splits = {name: _write_split(pool.table, name, out) for name in SPLITS}
    held_out = _write_split(pool.table, HELD_OUT, out) if data.heldout_rows else None
    _write_flags(pool.table, out)
    write_json(out / "examples.json", examples(pool.table, data.seed))
    manifest = {
        **origin(
            data.model_dump(mode="json"),
            stage_code("data_pool"),
            [shard for shard, _, _ in source.shards],
        ),
        "tokenizer": str(tokenizer),
        "deduplication": deduplicate.parameters(data.deduplication),
        "found": pool.found,
        "source_rows": len(pool.table),
        "dropped": {reason: int((pool.table["reason"] == reason).sum()) for reason in ORDER},
        "splits": splits,
        HELD_OUT: held_out,
    }
    write_json(out / "manifest.json", manifest)
    report(f"{splits['train']['rows']} rows to train on, {splits['validation']['rows']} to validate: {out}")
