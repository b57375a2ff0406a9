"""The learning curve from metrics files written here."""

from __future__ import annotations

import pandas as pd
import pytest
from PIL import Image
from report_inputs import write_metrics

from egpo.analysis.learning import first_and_last, quarter_gain
from egpo.common.errors import UserError
from egpo.config.loader import load
from egpo.report.figures.learning_curve import learning_curve
from egpo.report.tables.learned import write_learned


def test_quarter_gain_by_hand():
    """First quarter 0, 0.2; last 0.6, 1.0: gain 0.7, variances 0.02 and 0.08 over 2 steps each."""
    rewards = pd.Series([0, 0.2, 9, 9, 9, 9, 0.6, 1.0])
    assert quarter_gain(rewards) == pytest.approx((0.7, 0.05**0.5))


def test_figure_and_numbers(tmp_path, demo):
    catalogue = load(demo, "demo")
    rising = write_metrics(tmp_path / "grpo.jsonl", [step / 8 for step in range(8)])
    flat = write_metrics(tmp_path / "egpo.jsonl", [0.5] * 8)
    learning_curve(catalogue, {("tiny-math", "grpo", 1): rising, ("tiny-math", "egpo", 1): flat}, tmp_path / "out")
    assert min(Image.open(tmp_path / "out" / "learning_curve.png").size) > 500
    numbers = pd.read_csv(tmp_path / "out" / "learning_curve.csv")
    assert numbers["gain"].tolist() == [0.75, 0]
    assert numbers["validation_last"].tolist() == [0.75, 0.75]
    assert numbers["note"].str.contains("Synthetic").all()


def test_a_file_without_rewards_is_refused_by_name(tmp_path, demo):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}')
    with pytest.raises(UserError, match=r"metrics\.jsonl: holds no"):
        learning_curve(load(demo, "demo"), {("tiny-math", "grpo", 1): file}, tmp_path)


def test_problems_that_came_again_are_compared_with_themselves(tmp_path, demo):
    """a: 0.5, then 1; b: 0, 1, then 0.5; c came once. Mean difference 0.5 both times: without a spread."""
    found = {("a", 1): [1, 0], ("b", 1): [0, 0], ("c", 2): [1, 1], ("b", 2): [1, 1], ("b", 3): [0, 1], ("a", 3): [1, 1]}
    rows = [
        {"problem": problem, "step": step, "correct": bool(right)}
        for (problem, step), flags in found.items()
        for right in flags
    ]
    shares = first_and_last(pd.DataFrame(rows))
    assert shares.T.to_dict() == {"a": {"first": 0.5, "last": 1.0}, "b": {"first": 0.0, "last": 0.5}}
    pd.DataFrame(rows).to_parquet(tmp_path / "responses.parquet")
    pd.DataFrame(rows)[:2].to_parquet(tmp_path / "once.parquet")
    trained = {
        ("tiny-math", "grpo", 1): tmp_path / "responses.parquet",
        ("tiny-math", "egpo", 1): tmp_path / "once.parquet",
    }
    write_learned(load(demo, "demo"), trained, tmp_path)
    table = pd.read_csv(tmp_path / "learned.csv")
    assert table["problems"].tolist() == [2, 0] and table["difference"][0] == 0.5
    assert "| 25.0 | 75.0 | +50.0 |" in (tmp_path / "learned.md").read_text()
