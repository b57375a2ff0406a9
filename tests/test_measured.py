"""What verl measures: medians and maxima of a training, and the warning where actor and vLLM are apart."""

from __future__ import annotations

import json
import math

import pytest
from report_inputs import small_catalogue

from egpo.report.tables.measured import write_measured
from egpo.training.measured import BOUND, DIFFERENCE, MEASURES, measured, warning
from egpo.training.progress import MetricsLog, read_lines


def lines(*differences: float | None) -> list[dict]:
    steps = [
        {"step": step, "timing_s/step": 10.0 + step, "actor/perf/cpu_memory_used_gb": 5.0 + step, DIFFERENCE: value}
        for step, value in enumerate(differences, start=1)
    ]
    return [{"step": 0, "timing_s/step": 999.0}, *steps]


def test_times_are_medians_and_memory_is_the_most():
    found = measured(lines(0.001, 0.003, 0.002))
    assert found["timing_s/step"] == 12 and found["actor/perf/cpu_memory_used_gb"] == 8 and found[DIFFERENCE] == 0.003
    assert math.isnan(found["perf/throughput"]) and set(found) == set(MEASURES)


def test_a_difference_beyond_the_bound_is_named_with_its_first_step():
    assert warning(lines(0.0, BOUND)) is None and warning([]) is None
    said = warning(lines(0.001, 0.5, 0.03))
    assert said is not None and "up to 0.500 nats" in said and "in 2 of 3 steps (first: 2)" in said


def test_a_difference_that_is_not_finite_is_named_as_not_measured(tmp_path):
    file = tmp_path / "metrics.jsonl"
    log = MetricsLog(file, lambda _: None)
    for step, value in enumerate((0.001, math.inf, 0.3, math.nan)):
        log.log({DIFFERENCE: value, "timing_s/step": 9.0}, step)
    log.log({"val-core/acc": 0.5}, 4)  # nothing of a step's
    said = warning(read_lines(file))
    assert said is not None and "up to 0.300 nats per token, above 0.02 in 1 of 4 steps" in said
    assert "not measured in 2 of 4 steps (first: 1)" in said
    assert warning([{"step": 0, "timing_s/testing": 1.0}]) is None


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (0.001, "No step is above"),
        (0.3, "EGPO, seed 1: the log-prob"),
        (None, "EGPO, seed 1: the difference of actor and vLLM is not measured in 1 of 1 steps"),
    ],
)
def test_the_table(tmp_path, difference, words):
    file = tmp_path / "metrics.jsonl"
    known = [{name: value for name, value in line.items() if value is not None} for line in lines(difference)]
    file.write_text("".join(json.dumps(line) + "\n" for line in known))
    write_measured(small_catalogue(), {("tiny-math", "egpo", 1): file}, tmp_path)
    assert words in (tmp_path / "measured.md").read_text()
    columns = (tmp_path / "measured.csv").read_text().splitlines()[0]
    assert columns.split(",")[3:] == list(MEASURES)
    phases = ("adv", "save_checkpoint", "testing")
    assert {*(f"timing_s/{phase}" for phase in phases), "actor/pg_clipfrac_lower", DIFFERENCE} <= set(MEASURES)
