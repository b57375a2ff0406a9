"""Scores in lasting processes beside evalscope's own, in forks, on real answers; with `-rP` the counts are printed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from evalscope.metrics.math import isolation, parser

from egpo.common.paths import ROOT
from egpo.config.benchmarks import Benchmark
from egpo.evaluation.harness import read_samples, run_trial
from egpo.evaluation.records import read_rows
from egpo.evaluation.references import References, _prompt, as_response
from egpo.evaluation.scoring import Scorers, lasting_scorers

pytestmark = [pytest.mark.real, pytest.mark.slow]

BENCHMARKS = {"math_500": 500, "aime24": 30, "minerva": 272, "gsm8k": 1319, "mmlu_stem": 3018}
FOLDERS = {"minerva": "minerva_math"}
ANSWERS = ("references", "gpt", "qwen3")  # the last two are of models, to MATH-500
CASES = [(name, "references") for name in BENCHMARKS] + [("math_500", kind) for kind in ANSWERS[1:]]


def given_answers(real: Path, kind: str) -> list[str]:
    """A model's answers to MATH-500, in the order of its questions."""
    return [row["prediction"] for row in json.loads((real / "answers" / f"math500_{kind}_answers.json").read_text())]


def counting(kind: type, name: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The labels of the calls of a way to score, as they come."""
    calls: list[str] = []
    original = getattr(kind, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(args[-1])
        return original(*args, **kwargs)

    monkeypatch.setattr(kind, name, counted)
    return calls


def scores(work: Path, adapter: str, subsets: list[str]) -> Iterator[dict[str, Any]]:
    for subset in subsets:
        for index, row in sorted(read_rows(work, "reviews", adapter, subset).items()):
            yield {"subset": subset, "index": index, **row["sample_score"]["score"]}


def report(work: Path) -> dict[str, Any]:
    (file,) = work.glob("reports/**/*.json")
    return json.loads(file.read_text())


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_scores_are_evalscopes_own(name, kind, real, tmp_path, monkeypatch):
    folder = real / "benchmarks" / FOLDERS.get(name, name)
    entry = yaml.safe_load((ROOT / "config" / "benchmarks.yaml").read_text())[name]
    benchmark = Benchmark.model_validate({**entry, "source": {"kind": "local", "path": folder}})
    samples = read_samples(name, benchmark, folder)
    every = [sample for subset in samples.values() for sample in subset]
    if kind == "references":
        responses = {_prompt(sample): as_response(sample) for sample in every}
    else:
        problems = [json.loads(line)["problem"] for line in (folder / "test.jsonl").read_text().splitlines()]
        by_problem = dict(zip(problems, given_answers(real, kind), strict=True))
        responses = {_prompt(sample): by_problem[_prompt(sample).rpartition("\nPlease reason")[0]] for sample in every}
    calls = {
        "lasting": counting(Scorers, "run", monkeypatch),
        "forked": counting(parser, "run_isolated", monkeypatch),
    }
    found, reports = {}, {}
    for way, context in (("lasting", lasting_scorers()), ("forked", contextlib.nullcontext())):
        place = tmp_path / way
        with context:
            # Few at a time: a fork that waits for a core is not to pass its limit of time.
            run_trial(References(responses), 0, name, benchmark, folder, samples, 2, place)
        found[way] = list(scores(place, benchmark.adapter, list(samples)))
        reports[way] = report(place)["metrics"]
    assert isolation.isolation_available()
    if name != "mmlu_stem":  # letters need no mathematics
        assert len(calls["lasting"]) == len(calls["forked"]) >= len(every)
    equal = sum(one == other for one, other in zip(found["lasting"], found["forked"], strict=True))
    right = sum(one["status"] == "success" and max(one["value"].values()) == 1 for one in found["forked"])
    print(f"{name}, {kind}: {len(every)} compared, {equal} equal, {right} right")
    assert equal == len(every) == BENCHMARKS[name]
    assert reports["lasting"] == reports["forked"]
