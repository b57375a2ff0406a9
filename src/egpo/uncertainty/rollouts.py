"""Rollouts: responses to held-out problems, with the log-probability of every token.

Problems are answered in shards. A finished shard of the same model, problems, settings and code is kept.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from egpo.common.answers import answers_equivalent, extract_boxed
from egpo.common.errors import UserError
from egpo.common.files import atomic_path, write_json
from egpo.common.hashing import stable_hash
from egpo.common.provenance import origin
from egpo.config.backbones import Backbone
from egpo.config.evaluation import Evaluation, Uncertainty
from egpo.inference.decoding import METADATA, decoding, hashes, model_files
from egpo.inference.engine import Answer, EngineError, request_seed
from egpo.inference.engines import Engines
from egpo.inference.progress import Progress, Report
from egpo.runtime.job import duration
from egpo.uncertainty.rollout_files import Problem, read_problems

END_OF_THOUGHT = "</think>"
KEY = b"key"  # in a shard's metadata: hash of everything that it depends on
SCHEMA = pa.schema(
    [
        ("problem", pa.int32()),  # row of heldout.parquet
        ("uuid", pa.string()),
        ("trial", pa.int32()),  # from 1
        ("seed", pa.int64()),  # of this request
        ("correct", pa.bool_()),  # by the verifier of the training, Eq. (1)
        ("truncated", pa.bool_()),
        ("prompt_tokens", pa.int32()),
        ("tokens", pa.list_(pa.int32())),  # of the response, with the one that ends it
        ("logprobs", pa.list_(pa.float32())),  # of each token, at temperature 1 over the whole vocabulary
        ("response", pa.string()),
    ]
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Shard:
    """Problems, as (row number in heldout.parquet, row in verl's format), and the file of their rollouts."""

    problems: list[tuple[int, Problem]]
    file: Path
    key: str

    @property
    def finished(self) -> bool:
        if not self.file.exists():
            return False
        return (pq.read_schema(self.file).metadata or {}).get(KEY) == self.key.encode()


def shards(
    problems: list[Problem], model: dict[str, str], made: dict[str, Any], size: int, code: str, work: Path
) -> list[Shard]:
    """Divide the problems into shards.

    Args:
        model: hash of each of its files; for a model on the Hub its name, with an empty hash.
        made: settings that rollouts depend on.
        size: problems per shard.
        code: version of the code that rollouts depend on.
    """
    cut = []
    for number, start in enumerate(range(0, len(problems), size)):
        part = list(enumerate(problems[start : start + size], start=start))
        texts = [(problem["prompt"][0]["content"], problem["reward_model"]["ground_truth"]) for _, problem in part]
        key = stable_hash({"model": model, "made": made, "code": code, "problems": texts, "first": start})
        cut.append(Shard(part, work / f"shard-{number:04d}.parquet", key))
    return cut


def end_of_thought(model: Path | str, backbone: Backbone) -> int | None:
    """Token id of </think>; None for a model without thoughts.

    Raises:
        UserError: the tokenizer of a model with thoughts has no such token.
    """
    if not backbone.thinks:
        return None
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(model).get_vocab().get(END_OF_THOUGHT)
    if found is None:
        raise UserError(
            f"config/backbones.yaml: {backbone.label}: thinks: true, but the tokenizer of {model} has no token "
            f"{END_OF_THOUGHT}: set it to false."
        )
    return found


def _ask(engines: Engines, shard: Shard, rollouts: int, progress: Progress) -> list[tuple[Row, str, Future[Answer]]]:
    """Start the requests of a shard: for each the start of its row, the reference answer, and the future answer."""
    asked = []
    for number, problem in shard.problems:
        messages = [dict(message) for message in problem["prompt"]]
        for trial in range(1, rollouts + 1):
            seed = request_seed(trial, messages)
            row = {"problem": number, "uuid": problem["extra_info"]["uuid"], "trial": trial, "seed": seed}
            answer = engines.ask(messages, seed, logprobs=True)
            answer.add_done_callback(lambda _: progress.tick())
            asked.append((row, problem["reward_model"]["ground_truth"], answer))
    return asked


def _row(row: Row, truth: str, answer: Answer) -> Row:
    """The row of a rollout. Raises UserError for a prompt that is too long, EngineError for one that failed."""
    if answer.overflow:
        raise UserError(
            f"data.final_prompt_tokens: problem {row['uuid']} is too long for this model: {answer.error}. Lower it, or "
            "max_evaluation_length of the backbone."
        )
    if answer.error is not None:
        raise EngineError(f"problem {row['uuid']}, trial {row['trial']}: {answer.error}")
    assert len(answer.token_ids) == len(answer.logprobs) == answer.tokens, "a token without its log-probability"
    box = extract_boxed(answer.text)
    return {
        **row,
        "correct": box is not None and answers_equivalent(box, truth),
        "truncated": answer.truncated,
        "prompt_tokens": answer.prompt_tokens,
        "tokens": answer.token_ids,
        "logprobs": answer.logprobs,
        "response": answer.text,
    }


def _finish(shard: Shard, asked: list[tuple[Row, str, Future[Answer]]], report: Report) -> None:
    rows = [_row(row, truth, answer.result()) for row, truth, answer in asked]
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({KEY: shard.key.encode()}))
    with atomic_path(shard.file) as temporary:
        pq.write_table(table, temporary)
    report(f"{shard.file.stem}: {sum(row['correct'] for row in rows)} of {len(rows)} right")


@contextlib.contextmanager
def _loaded(model: Path | str, backbone: Backbone, settings: Evaluation, report: Report) -> Iterator[Engines]:
    report(f"loading {model} into vLLM")
    start = time.monotonic()
    with Engines(model, backbone, settings) as engines:
        engines.wait()
        report(f"loaded in {duration(time.monotonic() - start)}")
        yield engines


def _run(pending: list[Shard], engines: Engines, rollouts: int, report: Report) -> None:
    progress = Progress(sum(len(shard.problems) for shard in pending) * rollouts, report)
    before: tuple[Shard, list[tuple[Row, str, Future[Answer]]]] | None = None
    for shard in pending:  # a shard is asked before the answers of the one before are complete
        asked = _ask(engines, shard, rollouts, progress)
        if before is not None:
            _finish(*before, report)
        before = shard, asked
    if before is not None:
        _finish(*before, report)


def _joined(made: list[Shard], metadata: dict[str, Any], path: Path) -> int:
    """Write all shards to one file, one at a time, as all may not fit in memory. Returns its number of rows."""
    rows = 0
    schema = SCHEMA.with_metadata({METADATA: json.dumps(metadata).encode()})
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for shard in made:
            table = pq.read_table(shard.file).replace_schema_metadata(schema.metadata)
            writer.write_table(table)
            rows += table.num_rows
    return rows


def finish_shards(
    model: Path | str,
    backbone: Backbone,
    problems: Path,
    settings: Evaluation,
    uncertainty: Uncertainty,
    work: Path,
    code: str,
    report: Report,
    engines: Engines | None = None,
) -> tuple[list[Shard], dict[str, Any], dict[str, str]]:
    """Make the shards that are not finished.

    Args:
        model: a folder in Hugging Face format, or a name on the Hub.
        problems: heldout.parquet of the data stage.
        work: keeps finished shards from one call to the next.
        code: version of the code that rollouts depend on.
        engines: vLLM with this model, loaded; without one it is loaded here, if a shard is to be made.

    Returns:
        All shards, the settings that they were made with, and the hashes of the model's files.

    Raises:
        UserError: for a model or a problem that cannot be used.
        EngineError: when vLLM fails; finished shards are kept.
    """
    inputs = hashes(model_files(model))
    made = {
        **decoding(backbone, settings),
        "rollouts_per_prompt": uncertainty.rollouts_per_prompt,
        "end_of_thought": end_of_thought(model, backbone),
    }
    rows = read_problems(problems)
    cut = shards(rows, inputs or {str(model): ""}, made, uncertainty.problems_per_shard, code, work)
    pending = [shard for shard in cut if not shard.finished]
    if len(pending) < len(cut):
        report(f"{len(cut) - len(pending)} of {len(cut)} shards are finished already")
    if pending:
        loaded = contextlib.nullcontext(engines) if engines else _loaded(model, backbone, settings, report)
        with loaded as vllm:
            _run(pending, vllm, uncertainty.rollouts_per_prompt, report)
    return cut, made, inputs


def roll_out(
    model: Path | str,
    backbone: Backbone,
    problems: Path,
    settings: Evaluation,
    uncertainty: Uncertainty,
    work: Path,
    out: Path,
    code: str,
    report: Report,
) -> None:
    """Answer every problem `uncertainty.rollouts_per_prompt` times, with the decoding of the evaluation.

    Writes out/rollouts.parquet (SCHEMA: a row per problem and trial) and, last, out/manifest.json. Arguments and errors
    are those of `finish_shards`.
    """
    cut, made, inputs = finish_shards(model, backbone, problems, settings, uncertainty, work, code, report)
    asked = sum(len(shard.problems) for shard in cut)
    written = _joined(cut, made, out / "rollouts.parquet")
    assert written == asked * uncertainty.rollouts_per_prompt, f"{written} rollouts for {asked} problems"
    manifest = origin({"decoding": made, "problems": asked}, code, [problems])
    write_json(out / "manifest.json", {**manifest, "inputs": {**inputs, **manifest["inputs"]}, "model": str(model)})
