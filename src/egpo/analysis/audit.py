"""Audit of the paper's printed numbers: what follows from them, what does not, with the arithmetic.

Everything is computed from config/paper-numbers.yaml, in decimals, as printed. Wording and references are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from scipy.stats import binom

from egpo.common.errors import UserError

Verdict = Literal["holds", "rounding", "fails"]
Numbers = dict[str, Any]
TRIALS = 8
OURS, BASE, BASELINES = "egpo", "base", ("grpo", "dapo", "edge_grpo")
ABLATED = "qwen2.5-math-1.5b"  # the backbone of Table 2
FINE = "mmlu_stem"  # with its thousands of questions, two decimals do not tell one run from eight


@dataclass(frozen=True)
class Result:
    """One statement of the paper, where it stands, and what its numbers give."""

    where: str
    says: str
    arithmetic: str
    verdict: Verdict


def _number(value: float) -> Decimal:
    return Decimal(str(value))


def _mean(values: list[Decimal]) -> Decimal:
    return sum(values, Decimal()) / len(values)


def _verdict(computed: Decimal, printed: Decimal, unit: str, terms: int) -> Verdict:
    """Whether `computed`, from `terms` numbers rounded to `unit`, is what is printed."""
    step = Decimal(unit)
    if abs(computed - printed) <= step / 2:
        return "holds"
    return "rounding" if abs(computed - printed) <= step / 2 * (terms + 1) else "fails"


def deltas(numbers: Numbers) -> Iterator[Result]:
    """Every bracket of Table 1: the method's accuracy less the base's."""
    for backbone, rows in numbers["table1"].items():
        for method in (*BASELINES, OURS):
            for benchmark, printed in rows[f"{method}_delta"].items():
                value, base = _number(rows[method][benchmark]), _number(rows[BASE][benchmark])
                yield Result(
                    "Table 1",
                    f"{backbone}, {method}, {benchmark}: {_number(printed):+}",
                    f"{value} - {base} = {value - base:+}",
                    "holds" if value - base == _number(printed) else "fails",
                )


def averages(numbers: Numbers) -> Iterator[Result]:
    """The last column of Table 2."""
    for variant, row in numbers["table2"].items():
        values = [_number(value) for name, value in row.items() if name != "average"]
        printed, mean = _number(row["average"]), _mean(values)
        yield Result(
            "Table 2",
            f"{variant}: average {printed}",
            f"({' + '.join(map(str, values))}) / {len(values)} = {mean:.4f}",
            _verdict(mean, printed, "0.01", 1),
        )


def same_model(numbers: Numbers) -> Iterator[Result]:
    """Base and EGPO stand in both tables."""
    for method in (BASE, OURS):
        for benchmark, value in numbers["table2"][method].items():
            if benchmark != "average":
                first, second = _number(numbers["table1"][ABLATED][method][benchmark]), _number(value)
                says = f"{ABLATED}, {method}, {benchmark}: the same in both tables"
                verdict: Verdict = "holds" if first == second else "fails"
                yield Result("Tables 1 and 2", says, f"{first} and {second}", verdict)


def reference_row(numbers: Numbers) -> Iterator[Result]:
    """Whether the ablations stay below EGPO as Table 1 prints it."""
    for benchmark, value in numbers["table1"][ABLATED][OURS].items():
        variants = {name: row[benchmark] for name, row in numbers["table2"].items() if benchmark in row}
        above = [f"{name} {score}" for name, score in variants.items() if name not in (BASE, OURS) and score > value]
        if len(variants) > 1:
            yield Result(
                "Tables 1 and 2",
                f"no ablation is above Table 1's {OURS} on {benchmark}",
                f"above {value}: {', '.join(above) or 'none'}",
                "fails" if above else "holds",
            )


def gaps(numbers: Numbers) -> Iterator[Result]:
    """Figure 3: the gap printed with both means, and the order of the gaps."""
    figure = numbers["figure3"]
    for method, row in figure.items():
        if "correct" in row:
            low, high, gap = (_number(row[key]) for key in ("correct", "incorrect", "gap"))
            arithmetic = f"{high} - {low} = {high - low}"
            yield Result("Figure 3", f"{method}: gap {gap}", arithmetic, _verdict(high - low, gap, "0.001", 2))
    listed = ", ".join(f"{method} {row['gap']}" for method, row in figure.items())
    largest = max(figure, key=lambda method: figure[method]["gap"])
    yield Result("4.4", f"{OURS} has the largest gap", listed, "holds" if largest == OURS else "fails")
    reverse = figure[BASE]["gap"] < 0
    yield Result("4.4", f"the order is reversed for {BASE}", f"{figure[BASE]['gap']}", "holds" if reverse else "fails")


def answer_entropy(numbers: Numbers) -> Iterator[Result]:
    """Table 3: the answer's entropy predicts better than the thoughts'."""
    for backbone, row in numbers["table3"].items():
        better = row["answer_entropy"] > row["thinking_entropy"]
        says = f"{backbone}: answer entropy predicts better"
        arithmetic = f"AUC {row['answer_entropy']} against {row['thinking_entropy']}"
        yield Result("4.5, Table 3", says, arithmetic, "holds" if better else "fails")


def derivative(function: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """Gradient by central differences."""
    step = 1e-5
    return np.array([(function(at + step * e) - function(at - step * e)) / (2 * step) for e in np.eye(len(at))])


def signs(numbers: Numbers) -> Iterator[Result]:
    """The sign before 1[v = y] - pi_v in the gradients on the logits, at one point: of log pi in (24), and of the
    objective l = -w pi / pi_old, Eq. (20), in (15) and (25)."""
    logits, token, weight, old = np.array([0.3, -1.1, 0.8, 0.0]), 2, 0.9, 0.4

    def pi(z: np.ndarray) -> np.ndarray:
        return np.exp(z) / np.exp(z).sum()

    form = np.eye(len(logits))[token] - pi(logits)
    scale = weight * pi(logits)[token] / old
    log_pi = derivative(lambda z: float(np.log(pi(z)[token])), logits)
    objective = derivative(lambda z: float(-weight * pi(z)[token] / old), logits)
    for equation, printed in numbers["signs"].items():
        found, formula = (log_pi, printed * form) if int(equation) == 24 else (objective, printed * scale * form)
        yield Result(
            f"Eq. ({equation})",
            f"the sign is {'+' if printed > 0 else '-'}",
            f"on the logit of the sampled token, at one point: {formula[token]:+.4f}; by differences: "
            f"{found[token]:+.4f}",
            "holds" if np.allclose(found, formula, atol=1e-8) else "fails",
        )


def granularity(numbers: Numbers) -> Iterator[Result]:
    """A mean over 8 trials of n questions is a multiple of 1/(8n); that of one run, of 1/n.

    The mean of 8 runs is a multiple of 1/n for one in 8.
    """
    items = numbers["questions"]
    tables = {"Table 1": numbers["table1"], "Table 2": {ABLATED: numbers["table2"]}}
    for where, backbones in tables.items():
        for backbone, rows in backbones.items():
            for method, row in rows.items():
                for benchmark, value in row.items():
                    if (
                        not method.endswith("_delta")
                        and benchmark in items
                        and not is_multiple(value, TRIALS * items[benchmark])
                    ):
                        yield _no_multiple(where, backbone, method, benchmark, value, items[benchmark])
    values = [
        (value, items[benchmark])
        for rows in numbers["table1"].values()
        for method in (BASE, *BASELINES, OURS)
        for benchmark, value in rows[method].items()
        if benchmark != FINE
    ]
    single = sum(is_multiple(value, count) for value, count in values)
    chance = binom.sf(single - 1, len(values), 1 / TRIALS)
    yield Result(
        "4.1",
        f"means of {TRIALS} trials (Table 1 without {FINE})",
        f"{single} of {len(values)} values are multiples of one run's 1/n; of {TRIALS} runs about "
        f"{len(values) / TRIALS:.0f} would be, at least as many with probability {chance:.0e}",
        "holds" if chance > 0.001 else "fails",
    )


def is_multiple(percent: float, of: int) -> bool:
    """Whether a percentage of two decimals can be k / of."""
    exact = round(percent * of / 100) * 100 / of
    return abs(exact - percent) <= 0.005 + 1e-9


def _no_multiple(where: str, backbone: str, method: str, benchmark: str, value: float, count: int) -> Result:
    cells = TRIALS * count
    low = int(value * cells / 100)
    return Result(
        where,
        f"{backbone}, {method}, {benchmark}: {value} is a mean of {TRIALS} trials of {count} questions",
        f"{low}/{cells} = {100 * low / cells:.3f}, {low + 1}/{cells} = {100 * (low + 1) / cells:.3f}",
        "fails",
    )


# --- the text -------------------------------------------------------------------------------------


def _best(rows: Numbers, benchmark: str) -> tuple[Decimal, list[str]]:
    """The highest baseline, and all that reach it."""
    top = max(_number(rows[method][benchmark]) for method in BASELINES)
    return top, [method for method in BASELINES if _number(rows[method][benchmark]) == top]


def gain(numbers: Numbers, claim: Numbers) -> Result:
    """`method` (EGPO) is `printed` points above the base, or above the best baseline, which is `named`."""
    rows, benchmark = numbers["table1"][claim["backbone"]], claim["benchmark"]
    method = claim.get("method", OURS)
    value, printed = _number(rows[method][benchmark]), _number(claim["printed"])
    other, names = (_number(rows[BASE][benchmark]), [BASE]) if claim["over"] == BASE else _best(rows, benchmark)
    named = claim.get("named", names)
    right = value - other == printed and sorted(named) == sorted(names)
    return Result(
        claim["where"],
        f"{claim['backbone']}, {benchmark}: {method} {printed:+} over {' and '.join(named)}",
        f"{value} - {other} ({' and '.join(names)}) = {value - other:+}",
        "holds" if right else "fails",
    )


def best_on(numbers: Numbers, claim: Numbers) -> Result:
    """EGPO is the best on `printed` benchmarks."""
    rows = numbers["table1"][claim["backbone"]]
    won = [name for name, value in rows[OURS].items() if value > max(rows[m][name] for m in (BASE, *BASELINES))]
    says = f"{claim['backbone']}: {OURS} is the best on {claim['printed']} of {len(rows[OURS])} benchmarks"
    verdict: Verdict = "holds" if len(won) == claim["printed"] else "fails"
    return Result(claim["where"], says, f"best on {len(won)}: {', '.join(won)}", verdict)


def margin(numbers: Numbers, claim: Numbers) -> Result:
    """The mean margin over the best baseline is larger for the `larger` model."""
    means, texts = [], []
    for backbone in (claim["smaller"], claim["larger"]):
        rows = numbers["table1"][backbone]
        margins = [_number(value) - _best(rows, name)[0] for name, value in rows[OURS].items()]
        means.append(_mean(margins))
        texts.append(f"{backbone} ({' '.join(f'{m:+}' for m in margins)}) / {len(margins)} = {means[-1]:.2f}")
    says = f"margins over the best baseline are larger for {claim['larger']} than for {claim['smaller']}"
    return Result(claim["where"], says, "; ".join(texts), "holds" if means[1] > means[0] else "fails")


def below(numbers: Numbers, claim: Numbers) -> Result:
    """A variant of Table 2 is below another on each of `benchmarks`."""
    low, high = (numbers["table2"][claim[key]] for key in ("lower", "higher"))
    pairs = [(low[name], high[name]) for name in claim["benchmarks"]]
    says = f"{claim['lower']} is below {claim['higher']} on {', '.join(claim['benchmarks'])}"
    verdict: Verdict = "holds" if all(a < b for a, b in pairs) else "fails"
    return Result(claim["where"], says, ", ".join(f"{a} against {b}" for a, b in pairs), verdict)


def average_below(numbers: Numbers, claim: Numbers) -> Result:
    """A variant's average, from its three values, is below another's."""
    means = [
        _mean([_number(value) for name, value in numbers["table2"][claim[key]].items() if name != "average"])
        for key in ("lower", "higher")
    ]
    return Result(
        claim["where"],
        f"{claim['lower']} does not have a higher average than {claim['higher']}",
        f"from the three values: {means[0]:.2f} against {means[1]:.2f}",
        "fails" if means[0] > means[1] else "holds",
    )


def question(numbers: Numbers, claim: Numbers) -> Result:
    """What one question of a benchmark is worth."""
    count = numbers["questions"][claim["benchmark"]]
    value = Decimal(100) / count
    says = f"one question of {claim['benchmark']} is {claim['printed']} points"
    verdict = _verdict(value, _number(claim["printed"]), "0.01", 0)
    return Result(claim["where"], says, f"100 / {count} = {value:.4f}", verdict)


def context(numbers: Numbers) -> Iterator[Result]:
    """4.2 explains the results of all models on AIME24 by their context; 4.1 gives the tokens of a response."""
    limits = numbers["response_tokens"]
    for backbone in numbers["table1"]:
        yield Result(
            "4.2",
            f"{backbone}: held to a context of {numbers['context']} on AIME24",
            f"responses of up to {limits[backbone]} tokens (4.1)",
            "holds" if limits[backbone] < numbers["context"] else "fails",
        )


KINDS: dict[str, Callable[[Numbers, Numbers], Result]] = {
    "gain": gain,
    "best_on": best_on,
    "margin": margin,
    "below": below,
    "average_below": average_below,
    "question": question,
}


def audit(numbers: Numbers) -> list[Result]:
    """Every check of the printed numbers, those of config/paper-numbers.yaml.

    Raises:
        UserError: a claim has a kind, or names an entry, that does not exist.
    """
    found = [
        *deltas(numbers),
        *averages(numbers),
        *same_model(numbers),
        *reference_row(numbers),
        *gaps(numbers),
        *answer_entropy(numbers),
        *signs(numbers),
        *granularity(numbers),
        *context(numbers),
    ]
    for place, claim in enumerate(numbers["text"], start=1):
        try:
            found.append(KINDS[claim["kind"]](numbers, claim))
        except KeyError as error:
            raise UserError(f"config/paper-numbers.yaml: text, entry {place}: there is no {error}.") from None
    return found
