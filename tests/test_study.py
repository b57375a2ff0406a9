"""A study: its rows, what is found in simulated ones, its page. Its trainings: tests/test_study_run.py."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from egpo.analysis.frozen import freeze
from egpo.analysis.statistics import paired, paired_by_seed
from egpo.cli import study as command
from egpo.cli.check import load_checked
from egpo.common.errors import UserError
from egpo.common.paths import ROOT
from egpo.config.files import read_yaml
from egpo.config.frozen import Frozen, Planned
from egpo.study import blocks, figures, page, pilot, results, rows, steps

SEEDS, QUESTIONS, TRIALS = 12, 300, 4
STUDY = load_checked(read_yaml(ROOT / "config" / "study.yaml"), "config/study.yaml")


def digits(counts: np.ndarray) -> str:
    """A digit for each question, with | between two benchmarks."""
    text = (counts + ord("0")).astype(np.uint8).tobytes().decode()
    return f"{text[:100]}|{text[100:]}"


def share(text: str, trials: int) -> float:
    """Of right answers, in such a text."""
    return sum(map(int, text.replace("|", ""))) / (QUESTIONS * trials)


def simulated(
    rng: np.random.Generator, gains: dict[str, float], seeds: int = SEEDS, sd_seed: float = 0.03
) -> pd.DataFrame:
    """Rows of a study in which a method's accuracy is 0.5 plus its gain, on average.

    What varies: the questions; a seed, for all methods alike and for each on its own; each method on each question with
    each seed; the trials.
    """
    base = rng.normal(0, 0.12, QUESTIONS)  # so that next to no chance is cut at 0 or 1
    made = []
    for seed in range(1, seeds + 1):
        block = rng.normal(0, sd_seed)
        for method, gain in gains.items():
            cell = base + gain + block + rng.normal(0, sd_seed) + rng.normal(0, 0.08, QUESTIONS)
            chance = np.clip(0.5 + cell, 0, 1)
            answers = digits(chance > 0.5), digits(rng.binomial(TRIALS, chance))
            made.append(("tiny-hard", method, seed, "ok", *answers))
    table = pd.DataFrame(made, columns=["backbone", "method", "seed", "status", "greedy_right", "sampled_right"])
    return table.assign(**dict.fromkeys(rows.ORIGIN, "same"))


def whole(rng: np.random.Generator, gains: dict[str, float], seeds: int) -> pd.DataFrame:
    """The same with every column that a page shows."""
    table = simulated(rng, gains, seeds)
    shown = {
        "greedy": table["greedy_right"].map(lambda text: share(text, 1)),
        "sampled": table["sampled_right"].map(lambda text: share(text, TRIALS)),
        **{name: 0.3 + 0.01 * place for place, name in enumerate(rows.CURVE)},
        **dict.fromkeys(("nsr_share", "mixed", "entirely_correct", "entirely_incorrect"), 0.25),
    }
    table = table.assign(**shown, gap=rng.normal(0.1, 0.01, len(table)))
    return table.reindex(columns=list(rows.COLUMNS))


def planned(*pairs: tuple[str, str]) -> list[Planned]:
    return [
        Planned(backbone="tiny-hard", first=first, second=second, benchmarks=("sums",), family="one")
        for first, second in pairs
    ]


# --- rows ------------------------------------------------------------------------------------------


def test_rows_are_appended_and_read_again(tmp_path):
    file = tmp_path / "new" / "rows.csv"
    assert rows.read(file).empty
    row = {"backbone": "b", "method": "grpo", "seed": 1, "attempt": 1, "status": "ok", "greedy_right": "0110|01"}
    rows.append(file, {**row, "sampled": 1 / 3, "gap": math.nan})
    rows.append(file, {**row, "seed": 2, "status": "failed", "reason": 'a, "b"\nand c'})
    table = rows.read(file)
    assert list(table["seed"]) == [1, 2] and table["greedy_right"][0] == "0110|01"
    assert table["sampled"][0] == pytest.approx(1 / 3, rel=1e-4) and math.isnan(table["gap"][0])
    assert table["reason"][1] == 'a, "b" and c'
    assert len(file.read_text().splitlines()) == 3


def test_a_row_of_other_columns_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no columns"):
        rows.append(tmp_path / "rows.csv", {"accuracy": 1})
    (tmp_path / "old.csv").write_text("method,seed\ngrpo,1\n")
    with pytest.raises(UserError, match="other columns"):
        rows.read(tmp_path / "old.csv")


def block(seed: int, model: str, **status: str) -> list[dict]:
    """Rows of trainings of a seed, from the same weights: status by method."""
    origin = {"model": model, "data": "d", "code": "c", "processor": "p"}
    return [{"backbone": "b", "method": name, "seed": seed, "status": state} | origin for name, state in status.items()]


def test_a_seed_that_goes_on_from_other_weights_is_trained_again_as_a_whole():
    untrained = block(0, "old", base="ok")
    table = pd.DataFrame(untrained + block(1, "old", grpo="ok", egpo="ok") + block(2, "old", grpo="ok"))
    methods = ["grpo", "egpo"]
    old, new = ({"b": (model, "d", "c", "p")} for model in ("old", "new"))
    assert blocks.left(table, old, methods, [1, 2]) == [("b", "egpo", 2, 1)]
    again = [("b", "grpo", 2, 1), ("b", "egpo", 2, 1)]
    assert blocks.left(table, new, methods, [1, 2]) == [("b", "base", 0, 1), *again]
    whole_again = pd.DataFrame([*table.to_dict("records"), *block(0, "new", base="ok"), *block(2, "new", grpo="ok")])
    assert blocks.left(whole_again, new, methods, [1, 2]) == [("b", "egpo", 2, 1)]
    used = blocks.of_blocks(whole_again)  # of two parts of the same size the last
    assert list(used.loc[used["seed"] == 2, "model"]) == ["new"] and len(used) == 5
    finished = pd.DataFrame([*whole_again.to_dict("records"), *block(2, "new", egpo="ok")])
    assert blocks.left(finished, {"b": ("third", "d", "c", "p")}, methods, [1, 2]) == []
    assert blocks.of_blocks(finished)["seed"].value_counts().to_dict() == {0: 2, 1: 2, 2: 2}


def test_what_has_a_row_is_not_trained_again_and_what_failed_once_more():
    table = block(1, "m", egpo="failed") + block(1, "m", dapo="failed") + block(1, "m", dapo="failed")
    left = blocks.left(pd.DataFrame(table), {"b": ("m", "d", "c", "p")}, ["grpo", "egpo", "dapo"], [1, 2])
    assert left == [
        ("b", "base", 0, 1),
        ("b", "grpo", 1, 1),
        ("b", "egpo", 1, 2),  # after the rest of its seed
        ("b", "grpo", 2, 1),
        ("b", "egpo", 2, 1),
        ("b", "dapo", 2, 1),
    ]
    assert blocks.failed(pd.DataFrame(table)) == [("b", "dapo", 1)]
    assert blocks.left(pd.DataFrame(table), {"b": ("m", "d", "c", "p")}, ["dapo"], [1]) == []


# --- statistics ------------------------------------------------------------------------------------


def test_differences_are_those_of_hand_and_pairing_takes_out_what_seeds_share():
    rng = np.random.default_rng(1)
    second = rng.random((6, 40, 1)) + rng.normal(0, 2, (6, 1, 1))  # seeds differ much, and both methods alike
    first = second + 0.1 + rng.normal(0, 0.01, (6, 40, 1))
    found = paired_by_seed(first, second)
    assert found.mean == pytest.approx((first - second).mean())
    assert found.low < 0.1 < found.high and found.se < 0.01 < paired(first, second).se
    with pytest.raises(ValueError, match="two seeds or more"):
        paired_by_seed(first[:1], second[:1])
    with pytest.raises(ValueError, match="equal"):
        paired_by_seed(first, second[:5])


def test_one_trial_and_one_question_value_is_the_paired_t_test():
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(2)
    first, second = (np.repeat(rng.normal(0, 1, (8, 1, 1)), 5, axis=1) for _ in range(2))
    found, known = paired_by_seed(first, second), ttest_rel(first[:, 0, 0], second[:, 0, 0])
    assert found.p_value == pytest.approx(known.pvalue) and found.degrees == pytest.approx(7)


def test_no_effect_is_found_about_as_often_as_the_level():
    """Of two comparisons alone, each in about 5% of the studies; in a family of both, a false alarm in at most that."""
    rng = np.random.default_rng(3)
    found, many = [], 400
    for _ in range(many):
        table = simulated(rng, {"grpo": 0, "dapo": 0, "egpo": 0}, seeds=8)
        pairs = [results.pair(table, "egpo", other, "sampled", TRIALS) for other in ("grpo", "dapo")]
        found.append([paired_by_seed(first, second).p_value for first, second, _ in pairs])
    p_values = np.array(found)
    assert 0.025 < (p_values < 0.05).mean() < 0.08
    assert (p_values.min(axis=1) < 0.05 / 2).mean() < 0.08  # Holm rejects a hypothesis where the smallest is below this


def test_p_values_are_corrected_within_a_family():
    table = simulated(np.random.default_rng(10), {"grpo": 0, "dapo": -0.03, "egpo": 0.02})
    chosen = [*planned(("egpo", "grpo"), ("egpo", "dapo")), *planned(("dapo", "grpo"))]
    chosen[-1] = chosen[-1].model_copy(update={"family": "another"})
    found = results.compare(table, chosen, "sampled", TRIALS)
    small, large = sorted(found["p_value"][:2])
    assert sorted(found["p_holm"][:2]) == pytest.approx([min(1, 2 * small), max(2 * small, large)])
    assert found["p_holm"][2] == found["p_value"][2]


def test_p_values_are_corrected_for_all_that_were_planned():
    table = simulated(np.random.default_rng(11), {"grpo": 0, "egpo": 0.02})
    found = results.compare(table, planned(("egpo", "grpo"), ("egpo", "never_run")), "sampled", TRIALS)
    assert found["p_holm"][0] == pytest.approx(min(1, 2 * found["p_value"][0])) and math.isnan(found["p_holm"][1])


def test_a_training_that_failed_twice_counts_as_untrained_in_the_sensitivity_analysis():
    table = simulated(np.random.default_rng(12), {"base": -0.2, "grpo": 0, "egpo": 0.02}, seeds=4)
    table = table[(table["method"] != "base") | (table["seed"] == 1)].copy()
    table.loc[table["method"] == "base", "seed"] = 0
    assert results.with_untrained(table).equals(table)
    lost = (table["method"] == "egpo") & (table["seed"] == 3)
    table.loc[lost, ["status", "greedy_right", "sampled_right"]] = ["failed", None, None]
    once = results.compare(results.with_untrained(table), planned(("egpo", "grpo")), "sampled", TRIALS)
    assert once["seeds"].item() == 3, "it has another attempt"
    table = pd.concat([table, table[lost]], ignore_index=True)
    assert results.compare(table, planned(("egpo", "grpo")), "sampled", TRIALS)["seeds"].item() == 3
    filled = results.with_untrained(table)
    found = results.answers(results.finished(filled, "tiny-hard"), "egpo", "sampled_right", TRIALS)
    untrained = results.answers(table, "base", "sampled_right", TRIALS)
    assert sorted(found) == [1, 2, 3, 4] and np.array_equal(found[3], untrained[0])


def test_nothing_is_decided_before_all_planned_seeds_are_there():
    table = simulated(np.random.default_rng(14), {"grpo": 0, "egpo": 0.2}, seeds=5)
    table.loc[(table["method"] == "grpo") & (table["seed"] == 2), "status"] = "failed"
    pairs = planned(("egpo", "grpo"), ("egpo", "never_run"))

    def verdicts(rows_now: pd.DataFrame) -> list[tuple[str, bool]]:
        found = results.withheld(results.compare(rows_now, pairs, "sampled", TRIALS), rows_now, 5)
        return list(zip(found["verdict"], found["p_value"].notna() & found["p_holm"].notna(), strict=True))

    waiting = ("not yet: 0 of 5 seeds", False)
    assert verdicts(table) == [("not yet: 4 of 5 seeds", False), waiting], "it has another attempt"
    lost = table[table["status"] == "failed"]
    assert verdicts(pd.concat([table, lost], ignore_index=True)) == [("for", True), waiting]


def test_differences_on_easy_and_hard_questions_are_those_of_these_questions():
    table = simulated(np.random.default_rng(3), {"grpo": 0.0, "egpo": 0.0}, seeds=3)

    def right(*counts: int) -> str:
        """Of the first, second and third hundred questions."""
        return digits(np.repeat(counts, 100))

    table["sampled_right"] = [right(1, 2, 3) if method == "grpo" else right(3, 2, 2) for method in table["method"]]
    assert results.by_difficulty(table, TRIALS) == {}, "there is no untrained model"
    base = table.iloc[:1].assign(method="base", seed=0, sampled_right=right(0, 2, 4))
    parts = results.by_difficulty(pd.concat([table, base]), TRIALS)
    assert [int(mask.sum()) for mask in parts.values()] == [100, 100, 100]
    found = {
        name: results.compare(table, planned(("egpo", "grpo")), "sampled", TRIALS, mask)["difference"][0]
        for name, mask in parts.items()
    }
    assert found == pytest.approx({"never": 50, "sometimes": 0, "always": -25})
    # With a second untrained model, "always" means each of them.
    other = base.assign(sampled_right=right(4, 4, 4))
    two = results.by_difficulty(pd.concat([table, base, other]), TRIALS)
    assert [int(mask.sum()) for mask in two.values()] == [0, 200, 100]


def test_a_part_of_one_question_has_no_interval():
    table = simulated(np.random.default_rng(3), {"grpo": 0.0, "egpo": 0.0}, seeds=3)
    one = np.arange(QUESTIONS) == 5
    assert math.isnan(results.compare(table, planned(("egpo", "grpo")), "sampled", TRIALS, one)["difference"][0])


def test_exploratory_comparisons_are_those_with_the_first_method_that_are_not_planned():
    of_plan = freeze(STUDY, "2026-01-01").comparisons
    found = results.exploratory(STUDY.experiment.methods, of_plan, "tiny-hard")
    pairs = [(one.first, one.second) for one in found]
    assert pairs == [(name, "grpo") for name in ("permuted_entropy", "constant_weight", "nsr_only")]


def test_differences_of_a_column_are_paired_and_those_to_the_untrained_model_by_origin():
    made = [("egpo", 1, 0.5, "m"), ("egpo", 2, 0.9, "n"), ("grpo", 1, 0.2, "m"), ("grpo", 2, 0.5, "n")]
    made += [("base", 0, 0.1, "m"), ("base", 0, 0.3, "n")]
    table = pd.DataFrame(made, columns=["method", "seed", "gap", "model"]).assign(data="d", code="c", processor=None)
    assert results.by_seed(table, "egpo", "grpo", "gap").value == pytest.approx((0.3 + 0.4) / 2)
    assert results.by_seed(table, "egpo", "base", "gap").value == pytest.approx((0.4 + 0.6) / 2)


def test_a_known_effect_is_found_with_its_sign_and_size():
    rng = np.random.default_rng(4)
    differences, hits, inside = [], 0, 0
    for _ in range(40):
        table = simulated(rng, {"grpo": 0, "egpo": 0.06})
        row = results.compare(table, planned(("egpo", "grpo")), "sampled", TRIALS).iloc[0]
        differences.append(row["difference"])
        hits += row["verdict"] == "for"
        inside += row["low"] < 6 < row["high"]
    assert np.mean(differences) == pytest.approx(6, abs=0.6)
    assert hits > 33 and inside > 33
    against = results.compare(simulated(rng, {"grpo": 0.1, "egpo": 0}), planned(("egpo", "grpo")), "sampled", TRIALS)
    assert against["verdict"].item() == "against"


def test_only_seeds_that_both_have_are_compared_and_failures_are_left_out():
    table = simulated(np.random.default_rng(5), {"grpo": 0, "egpo": 0}, seeds=4)
    table.loc[(table["method"] == "grpo") & (table["seed"] == 2), "status"] = "failed"
    found = results.compare(table, planned(("egpo", "grpo"), ("c5", "egpo")), "greedy", TRIALS)
    assert list(found["seeds"]) == [3, 0]
    assert math.isnan(found["difference"][1]) and found["verdict"][1] == "open"


def test_a_digit_above_the_trials_is_an_error():
    table = simulated(np.random.default_rng(6), {"grpo": 0, "egpo": 0}, seeds=2)
    with pytest.raises(UserError, match="more than 2 right trials"):
        results.pair(table, "egpo", "grpo", "sampled", 2)


def test_power_of_the_paired_test_is_that_of_simulations():
    of = pilot.Variances(seed=0.03**2, question=0.02**2, rest=0.3**2, seeds=3)
    rng, found, many = np.random.default_rng(7), 0, 600
    for _ in range(many):
        cells = 0.03 + rng.normal(0, 0.03, (10, 1)) + rng.normal(0, 0.02, 100) + rng.normal(0, 0.3, (10, 100))
        found += paired_by_seed(cells[:, :, None], np.zeros((10, 100, 1))).p_value < 0.05
    assert found / many == pytest.approx(pilot.power(of, 10, 100, 0.03), abs=0.06)
    needed = pilot.seeds_needed(of, 100, 0.03)
    assert needed is not None and pilot.power(of, needed - 1, 100, 0.03) < 0.8 <= pilot.power(of, needed, 100, 0.03)


def test_the_pilot_says_how_many_seeds_a_difference_needs(tmp_path, capsys):
    table = whole(np.random.default_rng(8), {"grpo": 0, "egpo": 0}, seeds=3)
    table.to_csv(tmp_path / "pilot.csv", index=False)
    assert command.power(STUDY, tmp_path / "pilot.csv", 3.0) == 0
    said = capsys.readouterr().out
    assert "egpo less grpo, training seeds 1, 2, 3" in said and "seeds for 3 points in 80%" in said
    with pytest.raises(UserError, match="run the pilot first"):
        command.power(STUDY, tmp_path / "none.csv", 3.0)


# --- plan and page ---------------------------------------------------------------------------------


def test_the_plan_of_a_study_is_its_own_comparisons():
    plan = freeze(STUDY, "2026-01-01")
    assert {one.family for one in plan.comparisons} == set(STUDY.experiment.study)
    assert "paired by seed" in plan.test and plan.comparisons[0].first == "egpo"
    again = Frozen.model_validate(yaml.safe_load(yaml.safe_dump(plan.model_dump(mode="json"))))
    assert again.content_hash() == plan.hash


def paged(folder: Path, table: pd.DataFrame) -> str:
    """The page of a study with these rows, each of two steps. All its pictures are there."""
    folder.mkdir()
    table.to_csv(folder / "rows.csv", index=False)
    for row in table[table["method"] != "base"].to_dict("records"):
        made = [{"step": step} | dict.fromkeys(steps.METRICS, 0.1 * step) for step in (1, 2)]
        steps.append(folder / "rows.csv", row, made)
    text = folder.parent / "study.md"
    text.write_text("# A study\n\n{}\nold\n{}\n\nafter\n".format(*page.MARKS))
    assert command.page(STUDY, folder / "rows.csv", text) == 0
    pictures = re.findall(r"\]\((.*?)\)", text.read_text())
    assert {folder.parent / name for name in pictures} == set(folder.glob("*.png"))
    return text.read_text()


def study_rows(seeds: int) -> pd.DataFrame:
    """Rows of all methods of the study, and of the untrained model."""
    rng, gains = np.random.default_rng(9), {name: 0.05 * (name == "egpo") for name in STUDY.experiment.methods}
    untrained = whole(rng, {"base": 0}, 1).assign(seed=0, gap=0.2, gap_low=0.1, gap_high=0.3)
    return pd.concat([untrained, whole(rng, gains, seeds)], ignore_index=True).assign(attempt=1)


def test_the_page_is_made_from_the_rows_alone(tmp_path):
    folder = tmp_path / "study"
    made = paged(folder, study_rows(3))
    assert made.startswith("# A study") and made.endswith("after\n") and "old" not in made
    assert "EGPO less GRPO" in made and "### Rows of tiny-hard" in made
    assert "18 of 120 trainings, 3 whole seeds." in made and "Attempts that failed: 0." in made
    assert {file.name for file in folder.glob("*.png")} == {
        f"tiny-hard-{name}.png" for name in ("differences", "curves", "gaps", "steps")
    }
    first = {file.name: file.read_bytes() for file in [tmp_path / "study.md", *folder.iterdir()]}
    command.page(STUDY, folder / "rows.csv", tmp_path / "study.md")
    assert first == {file.name: file.read_bytes() for file in [tmp_path / "study.md", *folder.iterdir()]}


def test_only_what_was_planned_has_p_values_and_verdicts(tmp_path):
    made = paged(tmp_path / "study", study_rows(3))
    parts = {part.partition("\n")[0]: part for part in made.split("### ")[1:]}
    sampled, exploratory = parts["Differences of sampled accuracy"].split("Exploratory, not planned:")
    greedy = parts["Differences of greedy accuracy, which decide nothing"]
    assert sampled.count("| not yet: 3 of 20 seeds |") == 6
    assert sampled.count(" less ") == 6 and "verdict" in sampled and "no sensitivity analysis" in sampled
    assert exploratory.count(" less GRPO") == 3 and "verdict" not in exploratory and "| p " not in exploratory
    assert greedy.count(" less ") == 6 and "verdict" not in greedy and "| p " not in greedy


def test_gaps_are_compared_as_the_plan_says(tmp_path):
    table = study_rows(3)
    table.loc[table["method"] == "egpo", "gap"] = [0.5, 0.6, 0.7]
    table.loc[table["method"] == "grpo", "gap"] = [0.1, 0.1, 0.1]
    made = paged(tmp_path / "study", table)
    assert "0.200 [0.100, 0.300] | +0.400 [" in made, "the untrained model's, with its interval over questions"
    assert "| 0.100 [0.100, 0.100] | +0.500 [" in made


def test_a_page_says_which_seed_is_there_in_part_and_what_failed_twice(tmp_path):
    table = study_rows(4)
    table = table[(table["seed"] < 4) | table["method"].isin(["grpo", "egpo"])]
    lost = (table["method"] == "nsr_only") & (table["seed"] == 2)
    table = table.assign(status=np.where(lost, "failed", table["status"]), reason=np.where(lost, "no memory", None))
    made = paged(tmp_path / "study", pd.concat([table, table[lost].assign(attempt=2)], ignore_index=True))
    assert "19 of 120 trainings, 3 whole seeds.\nSeed 4 has 2 of 6 methods" in made
    assert (
        "Attempts that failed: 2. Trainings that failed in both: 1." in made and "seed 2, attempt 2: no memory" in made
    )
    main, sensitivity = made.split("Sensitivity: a training that failed twice counts as the untrained model.")
    name = f"EGPO less {STUDY.methods['nsr_only'].label} | above |"
    assert f"{name} 2 |" in main and f"{name} 3 |" in sensitivity


def test_a_page_of_the_untrained_model_alone(tmp_path):
    made = paged(tmp_path / "study", study_rows(1).query("method == 'base'"))
    assert "0 of 120 trainings, 0 whole seeds." in made and "| untrained | 1 |" in made


def test_the_dashed_curve_is_that_of_the_first_method_of_the_configuration():
    table = whole(np.random.default_rng(13), {"egpo": 0, "grpo": 0}, 2)
    table.loc[table["method"] == "grpo", list(rows.CURVE)] = 0.7
    figure = figures.curves(table, {"base": "untrained", "grpo": "GRPO", "egpo": "EGPO"})
    assert [axis.get_title() for axis in figure.axes] == ["GRPO", "EGPO"], "not in the order of the rows"
    for axis in figure.axes:
        assert axis.lines[0].get_linestyle() == "--" and set(axis.lines[0].get_ydata()) == {70.0}


def _spoilt(text: str, place: int, old: str, new: str) -> str:
    """The text with a change in one of its lines."""
    lines = text.split("\n")
    lines[place] = lines[place].replace(old, new, 1)
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text.replace(",", ";"), "semicolons between its columns"),
        (lambda text: "", "No columns to parse"),
        (lambda text: text[: len(text) // 2], "line 2: sampled: "),
        (lambda text: f"{text}<<<<<<< HEAD\n", "line 4: backbone: '<<<<<<< HEAD' is not one of tiny-hard"),
        (lambda text: _spoilt(text, 1, ",grpo,", ",gpro,"), "line 2: method: 'gpro' is not one of base, grpo"),
        (lambda text: _spoilt(text, 2, ",ok,", ",OK,"), "line 3: status: 'OK'"),
        (lambda text: _spoilt(text, 1, "0.25", '"0,25"'), "line 2: mixed: '0,25' is not a number"),
        (lambda text: _spoilt(text, 2, "|", ""), "line 3: greedy_right"),
        (lambda text: _spoilt(text, 1, "01", "1E+30"), "line 2: greedy_right"),
    ],
)
def test_rows_that_a_spreadsheet_or_a_merge_has_spoilt_are_named_with_their_line(tmp_path, spoil, words):
    file = tmp_path / "rows.csv"
    whole(np.random.default_rng(8), {"grpo": 0, "egpo": 0}, seeds=1).to_csv(file, index=False)
    file.write_text(spoil(file.read_text()))
    with pytest.raises(UserError) as refused:
        command.power(STUDY, file, 3.0)
    assert str(refused.value).startswith(f"{file}: ") and words in str(refused.value)


def test_rows_of_another_configuration_are_refused(tmp_path):
    """With twice the trials every accuracy would be half of what it was, in silence."""
    whole(np.random.default_rng(8), {"grpo": 0, "egpo": 0}, seeds=3).to_csv(tmp_path / "rows.csv", index=False)
    evaluation = STUDY.experiment.evaluation.model_copy(update={"seeds": tuple(range(8))})
    other = STUDY.model_copy(update={"experiment": STUDY.experiment.model_copy(update={"evaluation": evaluation})})
    with pytest.raises(UserError, match=r"line 2: sampled: .* is not the share in sampled_right, with trials: 8"):
        command.power(other, tmp_path / "rows.csv", 3.0)


def test_a_folder_and_the_file_of_the_steps_are_no_rows(tmp_path):
    page_file = tmp_path / "page.md"
    page_file.write_text("{}\n{}\n".format(*page.MARKS))
    for out, words in ((tmp_path, "Is a directory"), (tmp_path / "steps.csv", "is the name of the file of the steps")):
        with pytest.raises(UserError, match=words):
            command.page(STUDY, out, page_file)


def test_a_wrong_path_to_the_rows_does_not_empty_a_page(tmp_path):
    page_file = tmp_path / "page.md"
    text = "{}\n### Accuracy\n{}\n".format(*page.MARKS)
    page_file.write_text(text)
    with pytest.raises(UserError, match="has tables of a study, and there are no rows"):
        command.page(STUDY, tmp_path / "none.csv", page_file)
    assert page_file.read_text() == text


def test_a_page_elsewhere_has_the_way_to_its_pictures(tmp_path):
    (tmp_path / "other").mkdir()
    page_file = tmp_path / "other" / "page.md"
    page_file.write_text("{}\n{}\n".format(*page.MARKS))
    (tmp_path / "rows").mkdir()
    study_rows(2).to_csv(tmp_path / "rows" / "rows.csv", index=False)
    assert command.page(STUDY, tmp_path / "rows" / "rows.csv", page_file) == 0
    assert "](../rows/tiny-hard-differences.png)" in page_file.read_text()


def test_answers_that_are_all_wrong_need_no_seeds(tmp_path, capsys):
    table = whole(np.random.default_rng(8), {"grpo": 0, "egpo": 0}, seeds=2)
    table = table.assign(sampled_right=digits(np.zeros(QUESTIONS)), sampled=0.0)
    table.to_csv(tmp_path / "rows.csv", index=False)
    assert command.power(STUDY, tmp_path / "rows.csv", 3.0) == 0
    assert "seeds for 3 points in 80% of the cases: 2 paired" in capsys.readouterr().out


def test_a_page_without_marks_is_left_alone(tmp_path):
    for text in ("nothing", "{1}\n{0}\n".format(*page.MARKS)):
        (tmp_path / "page.md").write_text(text)
        with pytest.raises(UserError, match="needs the lines"):
            command.page(STUDY, Path(tmp_path / "rows.csv"), tmp_path / "page.md")
