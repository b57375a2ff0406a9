"""From source rows to the training pool (appendix A.2): filters, deduplication, sampling, split."""

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
from transformers import PreTrainedTokenizerBase

from egpo.config import Data
from egpo.data import deduplicate, sample
from egpo.data.filters import REASONS, Measured, bucket, judge
from egpo.data.funnel import ALL, funnel, markdown
from egpo.data.lengths import load_tokenizer, measure
from egpo.data.schema import Row, read_rows
from egpo.data.source import prepared
from egpo.data.verl_rows import verl_row
from egpo.errors import UserError
from egpo.files import sha256, whole, write_json, write_text
from egpo.provenance import code_version, origin

Report = Callable[[str], None]

DUPLICATE_UUID = "duplicate-uuid"
# Every reason to drop a row, in the order of the chain.
ORDER = (
    DUPLICATE_UUID,
    *REASONS,
    deduplicate.REASON,
    sample.INCORRECT,
    sample.NOT_SAMPLED,
    sample.LONG_FINAL_PROMPT,
)
ROW_GROUP = 2000


def _record(item: Measured, data: Data) -> dict[str, Any]:
    """What the chain keeps of a row: no generations, which are nearly all of its size."""
    row: Row = item.row
    return {
        "uuid": row.uuid,
        "subset": row.subset,
        "source": row.source,
        "bucket": bucket(row.correct),
        "problem": row.problem,
        "answer": row.answer.strip(),
        "generations": len(row.generations),
        "correctness_count": row.correctness_count,
        "prompt_tokens": item.prompt_tokens,
        "response_tokens": item.response_tokens,
        **judge(item, data),
    }


def judged_rows(
    batches: Iterable[list[Row]], total: int, data: Data, tokenizer: PreTrainedTokenizerBase, report: Report
) -> pd.DataFrame:
    """Every source row with its bucket, lengths, a flag per reason and the first reason, in an order of its own.

    The order (by uuid, then content) does not depend on that of the shards. Of rows that share a uuid
    the first one counts and the others are flagged. Raises UserError if there is no row at all.
    """
    records: list[dict[str, Any]] = []
    tenths = 0
    for rows in batches:
        records += [_record(item, data) for item in measure(rows, tokenizer)]
        if 10 * len(records) >= (tenths + 1) * total:
            tenths = 10 * len(records) // total
            report(f"filters: {len(records)} of {total} rows judged")
    if not records:
        raise UserError("data.source: its shards hold no row at all.")
    table = pd.DataFrame(records).astype({"response_tokens": "Int64"})
    table = table.sort_values(["uuid", "subset", "problem", "answer", "generations", "correctness_count"])
    table = table.reset_index(drop=True)
    table[DUPLICATE_UUID] = table["uuid"].duplicated()
    flags = table[[DUPLICATE_UUID, *REASONS]]
    table["reason"] = flags.idxmax(axis=1).where(flags.any(axis=1), "")
    return table


def _deduplicated(table: pd.DataFrame, data: Data) -> pd.DataFrame:
    """With the columns `cluster` and `near-duplicate`, and the reason of the rows that it drops."""
    rows = table[table["reason"] == ""]
    found = deduplicate.deduplicate(rows, data.deduplication)
    table = table.assign(cluster=found["cluster"])
    table[deduplicate.REASON] = found["duplicate"].reindex(table.index, fill_value=False)
    table.loc[table[deduplicate.REASON], "reason"] = deduplicate.REASON
    return table


def _sampled(table: pd.DataFrame, data: Data) -> pd.DataFrame:
    """With the column `split` ('train', 'validation' or ''), and the reason of the rows not in the pool."""
    rows = table[table["reason"] == ""]
    reasons = sample.sample(rows, data.quotas, data.seed)
    table.loc[reasons.index, "reason"] = reasons
    pool = table[table["reason"] == ""]
    table["split"] = sample.split(pool, data.validation_rows, data.seed).reindex(table.index, fill_value="")
    late = (table["reason"] == "") & (table["prompt_tokens"] > data.final_prompt_tokens)
    table.loc[late, ["reason", "split"]] = (sample.LONG_FINAL_PROMPT, "")
    return table


def _write_parquet(table: pa.Table, path: Path) -> None:
    with whole(path) as temporary:
        pq.write_table(table, temporary, row_group_size=ROW_GROUP)


def _verl_rows(table: pd.DataFrame, name: str) -> list[dict[str, Any]]:
    part = table[table["split"] == name]
    columns = ["uuid", "subset", "bucket", "source", "problem", "answer"]
    return [
        verl_row(**{**row, "index": index, "split": name}) for index, row in enumerate(part[columns].to_dict("records"))
    ]


def _content_hash(rows: list[dict[str, Any]]) -> str:
    """Hash of the rows themselves: the file's own hash changes with the writer's version as well."""
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _write_split(table: pd.DataFrame, name: str, out: Path) -> dict[str, Any]:
    """Write one split; its rows, content hash and file hash."""
    rows = _verl_rows(table, name)
    if not rows:
        raise UserError(f"data.final_prompt_tokens: no row of the {name} split is so short. Raise this limit.")
    path = out / f"{name}.parquet"
    _write_parquet(pa.Table.from_pylist(rows), path)
    return {"rows": len(rows), "content": _content_hash(rows), "sha256": sha256(path)}


def _write_flags(table: pd.DataFrame, out: Path) -> None:
    columns = [column for column in table.columns if column not in ("problem", "answer")]
    flags = pa.Table.from_pandas(table[columns], preserve_index=False).replace_schema_metadata(None)
    _write_parquet(flags, out / "flags.parquet")


def _write_funnel(table: pd.DataFrame, note: str, out: Path) -> pd.DataFrame:
    counts = funnel(table, ORDER)
    with whole(out / "funnel.csv") as temporary:
        counts.to_csv(temporary, index=False)
    write_text(out / "funnel.md", markdown(counts, note))
    return counts


def _report_drops(table: pd.DataFrame, reasons: Iterable[str], report: Report) -> None:
    counts = Counter(table["reason"])
    for reason in reasons:
        if counts[reason]:
            report(f"  {reason}: {counts[reason]} rows dropped")
    report(f"  {counts['']} of {len(table)} rows left")


def build(data: Data, folder: Path, tokenizer: Path | str, out: Path, note: str, report: Report) -> None:
    """Run the chain on the shards that `egpo.data.source.prepare` left at `folder`.

    Writes under `out`: train.parquet and validation.parquet in verl's format, flags.parquet (every source
    row with each reason), funnel.csv, funnel.md with `note` below it, and last manifest.json.
    Raises UserError for what is wrong with the source, the tokenizer or the quotas.
    """
    source = prepared(folder)
    table = judged_rows(read_rows(source.folder), source.rows, data, load_tokenizer(tokenizer), report)
    _report_drops(table, [DUPLICATE_UUID, *REASONS], report)
    report("near-duplicates: MinHash-LSH over the problem texts")
    table = _deduplicated(table, data)
    _report_drops(table, [deduplicate.REASON], report)
    report("sampling by quota")
    table = _sampled(table, data)
    _report_drops(table, [sample.INCORRECT, sample.NOT_SAMPLED, sample.LONG_FINAL_PROMPT], report)

    splits = {name: _write_split(table, name, out) for name in ("train", "validation")}
    _write_flags(table, out)
    counts = _write_funnel(table, note, out)
    left = counts[counts["subset"] == ALL]["out"].iloc[-1]
    assert left == sum(part["rows"] for part in splits.values()), "the funnel and the files disagree"
    manifest = {
        **origin(data.model_dump(mode="json"), code_version("data", "boxed.py"), source.files),
        "tokenizer": str(tokenizer),
        "deduplication": deduplicate.parameters(data.deduplication),
        "source_rows": len(table),
        "dropped": {reason: int((table["reason"] == reason).sum()) for reason in ORDER},
        "splits": splits,
    }
    write_json(out / "manifest.json", manifest)
    report(f"{splits['train']['rows']} rows to train on, {splits['validation']['rows']} to validate: {out}")
