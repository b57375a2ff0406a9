"""Hard cases for the data chain: synthetic rows of OpenR1-Math's schema, each with the reasons that it must get.

The stand-in can hold them beside its ordinary rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from egpo.common.hashing import digest

# Five small evaluation sets, in wordings that no ordinary row has.
EVALUATION_SETS = {
    "planted-math": [
        "A gardener plants 12 rows of tulips along the northern wall with 9 bulbs in every row, and 14 more bulbs "
        "in a round bed beside the gate. How many bulbs does the gardener plant altogether?",
        "Let $f(x) = 3x^2 - 5x + 7$ for every real number $x$. What is the value of $f(4) - f(2)$ once simplified?",
    ],
    "planted-aime": [
        "Eleven lanterns hang on a rope bridge between two watchtowers, and each lantern is lit on every third night. "
        "Find the number of nights in a leap year on which exactly four of the lanterns are lit.",
    ],
    "planted-mmlu": ["Which of the following bodies has the greatest angular momentum about the origin?"],
    "planted-minerva": [
        "A comet of mass 5 units passes the observatory on the ridge at a speed of 20 units while its tail sweeps over "
        "the old orchard wall. Compute its kinetic energy in the same units."
    ],
    "planted-gsm8k": [
        "The ferry carries 48 cars on each trip across the fjord in summer and 31 cars on each trip in winter, when "
        "the pier at the lighthouse is closed. How many more cars cross on 6 summer trips than on 6 winter trips?",
    ],
}


@dataclass(frozen=True)
class Case:
    """A planted row, and what the chain must find in mode `verified` against EVALUATION_SETS.

    Attributes:
        reasons: all that must be flagged.
        cluster: name of the group of near-duplicates that the row must be in; None if it must be alone.
        bucket: the bucket that its flags give.
    """

    name: str
    row: dict[str, Any]
    subset: str = "default"
    reasons: frozenset[str] = frozenset()
    cluster: str | None = None
    bucket: str = "mixed"


@dataclass
class _Cases:
    """The list while it is built."""

    seed: int
    cases: list[Case] = field(default_factory=list)

    def add(
        self,
        name: str,
        *reasons: str,
        subset: str = "default",
        cluster: str | None = None,
        bucket: str = "mixed",
        **columns: Any,
    ) -> None:
        answer = columns.get("answer", "7")
        right, wrong = f"<think>\nlong thoughts\n</think>\n\n\\boxed{{{answer}}}", "<think>\n\n</think>\n\n\\boxed{999}"
        flags = {"mixed": [True, False], "correct": [True, True], "incorrect": [False, False]}[bucket]
        row = {
            "problem": story(name),
            "solution": f"It is \\boxed{{{answer}}}.",
            "answer": answer,
            "problem_type": "Other",
            "question_type": "math-word-problem",
            "source": "synthetic_planted",
            "uuid": str(UUID(bytes=digest(self.seed, "planted", name))),
            "is_reasoning_complete": [True, True],
            "generations": [right if flag else wrong for flag in flags],
            "correctness_math_verify": flags,
            "correctness_llama": None,
            "finish_reasons": ["stop", "stop"],
            **columns,
        }
        row["correctness_count"] = columns.get("correctness_count", sum(row["correctness_math_verify"] or ()))
        row["messages"] = [{"content": row["problem"], "role": "user"}]
        self.cases.append(Case(name, row, subset, frozenset(reasons), cluster, bucket))


def story(name: str) -> str:
    """A different problem for every name."""
    numbers = digest(0, "planted story", name)
    return (
        f"In the tale called {name} the miller grinds {numbers[0]} sacks of wheat before noon and {numbers[1]} sacks "
        f"after it, while {numbers[2]} sacks wait. How many sacks are there in the {name} mill?"
    )


def _numbered(name: str, count: int) -> list[str]:
    """`count` words that occur in no other text."""
    letters = [bytes(97 + byte % 26 for byte in digest(index, name, "word")[:7]).decode() for index in range(count)]
    return [f"{name}{word}" for word in letters]


def _schema(add: Any) -> None:
    box = "\\boxed{7}"
    add("null answer", "no-answer", "no-boxed-match", answer=None, solution=box, generations=[box] * 2)
    add("blank answer", "no-answer", "no-boxed-match", answer="  ", solution=box, generations=[box] * 2)
    none: dict[str, Any] = {"generations": [], "correctness_math_verify": []}
    add("no generation", "few-generations", "long-response", bucket="incorrect", **none)
    one = {"generations": [box], "correctness_math_verify": [True]}
    add("one generation", "few-generations", bucket="correct", **one)
    add("short flag list", bucket="mixed", correctness_math_verify=[True])
    add("null flag list", bucket="incorrect", correctness_math_verify=None)
    add("null source", source=None)


def _type(add: Any) -> None:
    add("multiple choice by type", "question-type", question_type="MCQ")
    options = story("options") + "\n(A) 5 \n(B) 6 \n(C) 7 \n(D) 8"
    add("multiple choice typed as word problem", "options", problem=options)
    add("bold options", "options", problem=story("bold") + r" \textbf{(A)}\ 5 \textbf{(B)}\ 6 \textbf{(C)}\ 7")
    add(
        "square ABCD", problem="The sides of the square $ABCD$ with corners A, B, C and D have length 3. " + story("sq")
    )
    add("proof by type", "question-type", question_type="proof")
    add("proof as answer", "no-answer", "not-a-value", answer="proof")
    add("prove that", "proof-wording", problem="Prove that the following holds. " + story("prove"))
    add("show that", "proof-wording", problem=story("show") + " Show that it is odd.")
    add("yes or no", "yes-or-no", "not-a-value", answer="Yes")
    add("text of no", "yes-or-no", answer=r"\text{No}")
    add("two parts", "multi-part", problem=story("parts") + " (a) Find the sum. (b) Find the product.")
    add("roman parts", "multi-part", problem=story("roman") + " i) Find the sum. ii) Find the product.")
    add("numbering prefix", problem="3. (6 points) " + story("prefix"))
    add("task prefix", problem="## Task B-1.3.\n\n" + story("task"))
    add("values of a function", problem="Let f be even with f(1) = 3 and f(2) = 4. " + story("function"))
    add("image", "figure", problem=story("image") + " ![](cut.png)")
    add("asymptote", "figure", problem=story("asy") + " [asy] draw((0,0)); [/asy]")
    add("figure in words", "figure", problem="As shown in the figure, the mill stands. " + story("drawn"))
    add("link", "link", problem=story("link") + " See https://example.org/mill")
    add("chinese", "language", problem="求和 " + story("chinese"))
    add("accented name", problem="Zoë Müller-Núñez visits. " + story("accent"))


def _value(add: Any) -> None:
    for name, answer in {
        "two values": "7, 8",
        "alternatives": "7 or 8",
        "plus-minus": r"\pm 7",
        "set": r"\{7\}",
        "interval": "[0, 7]",
        "tuple": "(7, 8)",
        "decimal comma": "3,14",
        "infinity": r"\infty",
    }.items():
        add(name, "several-values", "not-a-value", answer=answer)
    add("time", "several-values", answer="12:30")  # which math-verify reads as 2/5
    add("not found", "no-answer", "not-a-value", answer="notfound")
    add("word", "not-a-value", answer="Monday")
    add("letter to choose", "not-a-value", answer="(B)")
    add("mixed number with a blank", "not-a-value", answer="1 1/2")
    add("inequality", "not-a-value", answer="x > 7")
    add("huge power", "not-a-value", answer="9^{9^{9^9}}")
    for name, answer in {
        "grouped digits": "10,000",
        "units": r"7\text{ cm}",
        "percent": r"7\%",
        "mixed number": r"1\frac{1}{2}",
        "dollars around": "$7$",
        "trailing period": "7.",
        "assignment": "x = 7",
        "expression": "2n + 7",
        "root": r"\sqrt[3]{7}",
    }.items():
        add(name, answer=answer)
    add("box around", answer=r"\boxed{7}", solution=r"\boxed{7}")


def _boxed(add: Any) -> None:
    plain = "no box here"
    add("box in the solution only", "long-response", generations=[plain, plain])
    add("box in one generation only", solution=plain, generations=[plain, r"\boxed{7}"])
    add("no box", "no-boxed-match", "long-response", solution=plain, generations=[plain, plain])
    last = r"\boxed{7}, no: \boxed{8}"
    add("first box right and last wrong", "no-boxed-match", solution=plain, generations=[last, last])
    nested = r"\boxed{\frac{1}{\sqrt{2}}}"
    add("nested braces", answer=r"\frac{1}{\sqrt{2}}", solution=plain, generations=[nested, nested])
    add("unbalanced box", "no-boxed-match", "long-response", solution=r"\boxed{7", generations=[r"\boxed{7"] * 2)
    thought = "<think>\n\\boxed{7}\n</think>\n\nIt is seven."
    add("box inside the thought only", solution=plain, generations=[thought, thought])
    add("decimal against fraction", answer="0.5", solution=r"\boxed{\frac{1}{2}}", generations=[r"\boxed{1/2}"] * 2)
    wrong = {"solution": r"\boxed{7}", "generations": [r"\boxed{8}"] * 2, "correctness_math_verify": [False] * 2}
    add("wrong reference", bucket="incorrect", **wrong)


def _lengths(add: Any) -> None:
    add("long prompt", "long-prompt", problem=story("long") + " Mind the rest." + " wheat and rye" * 3000)
    endless = "so on " * 6000
    add("long responses", "long-response", generations=[endless + r"\boxed{7}"] * 2)
    add("one short response", generations=[endless + r"\boxed{7}", r"\boxed{7}"])


def _buckets(add: Any) -> None:
    add("mixed group")
    add("entirely correct group", bucket="correct")
    add("entirely incorrect group", bucket="incorrect")
    llama = {"correctness_math_verify": [False, False], "correctness_llama": [True, False], "correctness_count": 1}
    add("right for the other judge alone", bucket="incorrect", **llama)


def _duplicates(add: Any) -> None:
    kept = {"correctness_count": 2}
    text = story("copied") + " The answer is a number of sacks, none of them empty."
    add("original", cluster="copied", problem=text, **kept)
    for name, copy in {
        "identical copy": text,
        "copy in capitals": text.upper(),
        "copy with blanks": text.replace(" ", "  ") + "\n",
        "copy with dollars": " ".join(f"${word}$" if word.isdigit() else word for word in text.split(" ")),
        "copy with prefix": "## Task 3. " + text,
    }.items():
        add(name, "near-duplicate", cluster="copied", problem=copy)
    add("copy in the other subset", "near-duplicate", subset="extended", cluster="copied", problem=text)
    # One word of n changed: 5 of n - 4 shingles, so a similarity of (n - 9) / (n + 1).
    for name, count, reasons in (("above", 52, ("near-duplicate",)), ("below", 47, ())):
        words = _numbered(name, count)
        cluster = name if reasons else None
        add(f"just {name} the threshold, first", cluster=cluster, problem=" ".join(words), **kept)
        changed = [*words[:20], "otherword", *words[21:]]
        add(f"just {name} the threshold, second", *reasons, cluster=cluster, problem=" ".join(changed))
    words = _numbered("chain", 60)
    add("chain, first", cluster="chain", problem=" ".join(words), **kept)
    words[10] = "secondlink"
    add("chain, second", "near-duplicate", cluster="chain", problem=" ".join(words))
    words[45] = "thirdlink"  # 0.84 to the second, 0.70 to the first
    add("chain, third", "near-duplicate", cluster="chain", problem=" ".join(words))
    add("number sibling, first", problem="Compute the sum of $x$ and $y$ if $x = 31$ and $y = 47$ hold.")
    add("number sibling, second", problem="Compute the sum of $x$ and $y$ if $x = 52$ and $y = 18$ hold.")
    add("sign sibling, first", problem="Solve the equation $2u+3v=5$ for the unknown $u$.")
    add("sign sibling, second", problem="Solve the equation $2u-3v=5$ for the unknown $u$.")
    both = {"problem": story("disputed"), "cluster": "disputed"}
    add("other answer, first", "conflicting-answers", answer="7", **both, **kept)
    add("other answer, second", "conflicting-answers", "near-duplicate", answer="8", **both)
    add("same answer in other words, first", cluster="agreed", problem=story("agreed"), answer="0.5", **kept)
    half = {"problem": story("agreed"), "answer": r"\frac{1}{2}"}
    add("same answer in other words, second", "near-duplicate", cluster="agreed", **half)
    add("under five tokens, first", cluster="short", problem="Halve fourteen", **kept)
    add("under five tokens, second", "near-duplicate", cluster="short", problem="halve  fourteen")
    add("empty, first", "no-problem", problem="")
    add("empty, second", "no-problem", problem=" \n")


def _contamination(add: Any) -> None:
    garden, algebra = EVALUATION_SETS["planted-math"]
    [lanterns] = EVALUATION_SETS["planted-aime"]
    [ferry] = EVALUATION_SETS["planted-gsm8k"]
    [comet] = EVALUATION_SETS["planted-minerva"]
    add("verbatim item", "contaminated", problem=garden)
    add("item in capitals", "contaminated", problem=algebra.upper())
    add("item with prefix", "contaminated", problem="## Task B-1.3. (7 points) " + lanterns)
    add("item in a longer text", "contaminated", problem=f"{story('around')} {comet} {story('after')}")
    add("item with other numbers", "contaminated", problem=ferry.replace("48", "73").replace("31", "59"))
    stock = "How many more cars cross on 6 other trips? " + story("stock")
    add("stock phrase of seven words", problem=stock)
    add("stock phrase of eight words", problem="What is the value of $f(4) - f(2)$ in the " + story("eight"))
    run = "when the pier at the lighthouse is closed. How many more cars cross"  # 13 words of an item
    words = _numbered("twin", 60)
    best = " ".join([*words[:30], run, *words[30:]])
    add("best of its cluster contaminated", "contaminated", cluster="twin", problem=best, correctness_count=2)
    twin = best.replace("lighthouse", "beacon")
    add("twin of a contaminated row", "contaminated-cluster", "near-duplicate", cluster="twin", problem=twin)


def planted_cases(seed: int) -> list[Case]:
    """Every case, in a fixed order; the uuids depend on the seed."""
    cases = _Cases(seed)
    for part in (_schema, _type, _value, _boxed, _lengths, _buckets, _duplicates, _contamination):
        part(cases.add)
    again = next(case for case in cases.cases if case.name == "mixed group")
    row = {**again.row, "problem": story("other text")}
    cases.cases.append(Case("duplicate uuid", row, "extended", frozenset({"duplicate-uuid"})))
    return cases.cases
