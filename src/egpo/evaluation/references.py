"""Reference answers in place of a model's, through the whole scoring path: what a benchmark's score can be at most.

Each question gets its own reference (the ceiling), and then that of another question (the floor). Nothing is generated.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from evalscope.api.dataset import Sample

from egpo.common.answers import extract_boxed
from egpo.common.files import atomic_path
from egpo.common.hashing import digest
from egpo.config.benchmarks import Benchmark
from egpo.evaluation.harness import Samples, read_samples, run_trial
from egpo.evaluation.records import SCHEMA, trial_rows
from egpo.evaluation.scoring import lasting_scorers
from egpo.inference.engine import Answer

KINDS = ("references", "shuffled")  # trial 1 and trial 2 of the records
BATCH = 32


def as_response(sample: Sample) -> str:
    r"""The reference as a model would say it: as evalscope's prompts ask for a letter, or in a box."""
    target = sample.target if isinstance(sample.target, str) else sample.target[0]
    if sample.choices:
        return f"ANSWER: {target}"
    return target if extract_boxed(target) is not None else rf"\boxed{{{target}}}"


def shuffled(name: str, responses: list[str]) -> list[str]:
    """Each response at the place of another question: moved on by one in the order of a keyed hash."""
    order = sorted(range(len(responses)), key=lambda place: digest(0, "shuffled references", f"{name} {place}"))
    moved = list(responses)
    for place, source in zip(order, order[1:] + order[:1], strict=True):
        moved[place] = responses[source]
    return moved


class References:
    """Answers with prepared responses, as `egpo.inference.engine.Engine` answers."""

    def __init__(self, responses: dict[str, str]) -> None:
        """responses: by prompt."""
        self._responses = responses

    def ask(self, messages: list[dict[str, str]], seed: int) -> Future[Answer]:
        """The response to a prompt, at once."""
        done: Future[Answer] = Future()
        done.set_result(Answer(text=self._responses[messages[-1]["content"]]))
        return done


def _prompt(sample: Sample) -> str:
    return sample.input if isinstance(sample.input, str) else sample.input[-1].text


def score_references(
    benchmarks: dict[str, Benchmark], folders: dict[str, Path], out: Path, report: Callable[[str], Any]
) -> None:
    """Score the references of every benchmark, its own and another question's, by evalscope and the verifier.

    Writes `out`: one row (egpo.evaluation.records.SCHEMA) per question, trial 1 with its own reference and trial 2 with
    another one's. A benchmark that a judge scores is left out.

    Raises:
        UserError: evalscope cannot read a benchmark.
    """
    with lasting_scorers():
        rows = _all_rows(benchmarks, folders, report)
    with atomic_path(out) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)


def _all_rows(
    benchmarks: dict[str, Benchmark], folders: dict[str, Path], report: Callable[[str], Any]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, benchmark in benchmarks.items():
        if benchmark.judge is not None:
            report(f"{name}: scored by a judge, so its references are not scored")
            continue
        samples = read_samples(name, benchmark, folders[name])
        every = [sample for subset in samples.values() for sample in subset]
        own = [as_response(sample) for sample in every]
        for trial, responses in enumerate((own, shuffled(name, own)), start=1):
            rows += _scored(name, benchmark, folders[name], samples, responses, trial)
        right = Counter(row["trial"] for row in rows if row["benchmark"] == name and row["correct"])
        report(f"{name}: {right[1]} of {len(every)} references right, {right[2]} of other questions' references")
    return rows


def _scored(
    name: str,
    benchmark: Benchmark,
    folder: Path,
    samples: Samples,
    responses: list[str],
    trial: int,
) -> list[dict[str, Any]]:
    every = [sample for subset in samples.values() for sample in subset]
    by_prompt = {_prompt(sample): response for sample, response in zip(every, responses, strict=True)}
    counts = {subset: len(part) for subset, part in samples.items()}
    with tempfile.TemporaryDirectory(prefix="egpo-references-") as work:
        run_trial(References(by_prompt), 0, name, benchmark, folder, samples, BATCH, Path(work))
        return list(trial_rows(name, benchmark.adapter, counts, Path(work), trial, 0))
