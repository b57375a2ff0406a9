"""Real reference answers, rewritten so that their value stays or changes: pairs for the tests of the answer checker."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

from egpo.common.answers import extract_boxed
from egpo.common.paths import ROOT

REAL = ROOT.parent / "shared" / "real"

INTEGER = re.compile(r"-?\d+")
DECIMAL = re.compile(r"-?\d*\.\d+")
FRACTION = re.compile(r"(-?)\\d?frac\{(\d+)\}\{(\d+)\}")
WORD = re.compile(r"\\text\{\(?([A-Za-z]+)\)?\}")
DEGREES = re.compile(r"(\d+)\^\\circ")
PAIR = re.compile(r"(?:\\left)?([(\[]) ?([^,]+), ?([^,]+?) ?(?:\\right)?([)\]])")
LIST = re.compile(r"[^(){}\[\],]+(?:, ?[^(){}\[\],]+)+")
RELATED = re.compile(r"=|\\pm|\\in |pmatrix|\\cup|,")  # of which -(...) is no value, or the same one
# A plus, minus or equals sign between two operands outside of exponents: blanks beside it change nothing.
OPERATOR = re.compile(r"(?<=[\dA-Za-z)}])(?<!\de) ?([+=-]) ?(?=[\dA-Za-z\\(])(?![^{]*\})")


class Pair(NamedTuple):
    """A reference, a rewriting of it, and how it was rewritten."""

    kind: str
    reference: str
    variant: str


def _rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (REAL / "benchmarks" / name).read_text().split("\n") if line]


def references() -> list[str]:
    """The 2,121 real reference answers: MATH-500, AIME24, Minerva's boxes, GSM8K."""
    found = [row["answer"] for row in _rows("math_500/test.jsonl")]
    found += [str(row["answer"]) for row in _rows("aime24/test.jsonl")]
    found += [extract_boxed(row["solution"]) or "" for row in _rows("minerva_math/train.jsonl")]
    return found + [row["answer"].rsplit("####", 1)[1].strip() for row in _rows("gsm8k/test.jsonl")]


def plain(reference: str) -> str:
    """The digits of a number without what groups them; any other reference unchanged."""
    digits = re.sub(r"\\\$|,(?:\\! ?)?(?=\d{3})", "", reference)
    return digits if INTEGER.fullmatch(digits) or DECIMAL.fullmatch(digits) else reference


def _value(number: str) -> Fraction:
    return Fraction(re.sub(r"^(-?)\.", r"\g<1>0.", number))


# --- the same value ------------------------------------------------------------------------------


def _scientific(text: str) -> list[str]:
    value = _value(text)
    mantissa, exponent = f"{float(value):.15e}".split("e")
    short = mantissa.rstrip("0").rstrip(".")
    if not value or Fraction(short) * Fraction(10) ** int(exponent) != value:
        return []
    power = rf"10^{{{int(exponent)}}}"
    return [rf"{short} \times {power}", f"{short}e{int(exponent)}", f"{short}E{int(exponent)}", rf"{short}\cdot{power}"]


def _grouped(text: str) -> list[str]:
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    if len(digits) < 4:
        return []
    head = len(digits) % 3 or 3
    parts = [digits[:head], *(digits[start : start + 3] for start in range(head, len(digits), 3))]
    marks = (",", "{,}", r"\,", " ", "\u00a0", "\u2009", "\u202f", r",\!")
    return [sign + mark.join(parts) for mark in marks]


def _terminating(value: Fraction) -> list[str]:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return [format(float(value), ".12g")] if rest == 1 and value < 10**9 else []


def _of_integer(text: str) -> Iterator[tuple[str, Iterable[str]]]:
    number = int(text)
    yield "decimals", (f"{text}.0", f"{text}.00")
    yield "fractions", (rf"\frac{{{2 * number}}}{{2}}", f"{3 * number}/3")
    yield "grouped digits", _grouped(text)
    yield "leading zeros and plus", () if number < 0 else (f"00{text}", f"+{text}")


def _of_decimal(text: str) -> Iterator[tuple[str, Iterable[str]]]:
    above, below = _value(text).as_integer_ratio()
    yield "decimals", (f"{text}0", f"{text}000")
    yield "fractions", (rf"\frac{{{above}}}{{{below}}}", f"{above}/{below}")


def _of_fraction(sign: str, above: int, below: int) -> Iterator[tuple[str, Iterable[str]]]:
    forms = (rf"\dfrac{{{above}}}{{{below}}}", rf"\tfrac{{{above}}}{{{below}}}", f"{above}/{below}")
    yield "fractions", (sign + form for form in (*forms, rf"\frac{{{3 * above}}}{{{3 * below}}}"))
    yield "fractions", (rf"\frac{{{sign}{above}}}{{{below}}}",)
    yield "decimals", (sign + form for form in _terminating(Fraction(above, below)))
    whole, rest = divmod(above, below)
    mixed = (rf"{sign}{whole}\frac{{{rest}}}{{{below}}}", f"{sign}{whole} {rest}/{below}")
    yield "mixed numbers", mixed if whole and rest else ()


UNITS = (
    r"\text{ cm}",
    r"\ \mathrm{cm}",
    r"\text{ units}",
    " cm",
    r"\mbox{ inches}^2",
    " square feet",
    " miles per hour",
)


def _of_number(text: str) -> Iterator[tuple[str, Iterable[str]]]:
    """Of an integer, decimal or fraction."""
    fraction = FRACTION.fullmatch(text)
    if INTEGER.fullmatch(text):
        yield from _of_integer(text)
    elif fraction:
        yield from _of_fraction(fraction[1], int(fraction[2]), int(fraction[3]))
    else:
        yield from _of_decimal(text)
    if not fraction:
        yield "scientific notation", _scientific(text)
    yield "units", (text + unit for unit in UNITS)
    yield "degree signs", (text + sign for sign in (r"^\circ", "°", r"^{\circ}", r"\text{ degrees}", " degrees"))
    yield "dollar signs", (rf"\${text}", f"${text}$", f"{text} dollars", rf"{text}\$")
    yield "per cent", (text + sign for sign in (r"\%", "%", " percent"))
    yield "assignments", (f"x = {text}",)


UNICODE = {r"\pi": "π", r"\infty": "∞", r"\cup": "∪", r"\in ": "∈", r"\pm": "±", "^2": "²", "^3": "³", r"\omega": "ω"}


def _in_unicode(text: str) -> str:
    for command, character in UNICODE.items():
        text = re.sub(re.escape(command) + r"(?![A-Za-z\d])", character, text)
    return re.sub(r"\\sqrt\{(\d+)\}", r"√\1", text.replace("-", "\u2212") if "^{" not in text else text)


def _terms(text: str) -> list[str]:
    """The terms of a sum outside of all brackets, each with its sign; none for anything else."""
    depth, terms = 0, [""]
    for character in text:
        depth += (character in "({[") - (character in ")}]")
        if character in "+-" and depth == 0 and terms[-1].strip():
            terms.append("")
        terms[-1] += character
    written = [term.strip() for term in terms]
    return (
        [term if term[0] in "+-" else f"+{term}" for term in written]
        if not re.search(r"[=,]|\\pm|\\cup|matrix|\de-?\d", text)
        else []
    )


def _of_formula(text: str) -> Iterator[tuple[str, Iterable[str]]]:
    """Of every answer that is mathematics."""
    yield "spacing", (OPERATOR.sub(r" \1 ", text), OPERATOR.sub(r"\\;\1\\,", text), f"  {text} ")
    yield "delimiters", (f"${text}$", rf"\({text}\)", f"{text}.")
    if re.search(r"[()]", text) and not re.search(r"[\[\]]|\\left", text):
        yield (
            "sizes of brackets",
            (re.sub(r"([()])", lambda one: rf"\{'left' if one[1] == '(' else 'right'}{one[1]}", text),),
        )
        yield "sizes of brackets", (re.sub(r"([()])", r"\\big\1", text),)
    if "\\left" in text:
        yield "sizes of brackets", (re.sub(r"\\(left|right)\s*", "", text),)
        yield "sizes of brackets", (text.replace("\\left", "\\Bigl").replace("\\right", "\\Bigr"),)
    yield "Unicode", (_in_unicode(text),)
    yield "fractions", (text.replace("\\frac", "\\dfrac"),)
    yield "matrix brackets", (text.replace("pmatrix", "bmatrix"),)
    terms = _terms(text)
    if len(terms) > 1:
        yield (
            "order of terms",
            ("".join(reversed(terms)).removeprefix("+"), "".join(terms[1:] + terms[:1]).removeprefix("+")),
        )
    if LIST.fullmatch(text):
        parts = re.split(r", ?", text)
        yield (
            "order of a list",
            (", ".join(reversed(parts)), r" \text{ and } ".join(parts) if len(parts) == 2 else text),
        )


def _of_root(text: str) -> Iterator[tuple[str, Iterable[str]]]:
    root, both = re.fullmatch(r"(\d+) ?\\sqrt\{?(\d+)\}?", text), re.fullmatch(r"(\d+) \\pm (.+)", text)
    if root:
        yield "roots", (rf"\sqrt{{{int(root[1]) ** 2 * int(root[2])}}}", rf"\sqrt{{{root[2]}}} \cdot {root[1]}")
        yield "roots", (rf"\frac{{{int(root[1]) * int(root[2])}}}{{\sqrt{{{root[2]}}}}}",)
    if both:
        yield "both signs", (f"{both[1]} + {both[2]}, {both[1]} - {both[2]}",)


def _of_text(text: str) -> Iterator[tuple[str, Iterable[str]]]:
    word, degrees = WORD.fullmatch(text), DEGREES.fullmatch(text)
    if word:
        forms = (word[1], rf"\textbf{{{word[1]}}}", rf"\mathrm{{{word[1]}}}", rf"\text{{ {word[1]} }}", word[1].lower())
        yield "text", forms
    if degrees:
        forms = ("{}", "{}°", r"{}^{{\circ}}", r"{} \text{{ degrees}}", "{} degrees")
        yield "degree signs", (form.format(degrees[1]) for form in forms)


def equal_pairs(reference: str) -> Iterator[Pair]:
    """Rewritings that keep the value."""
    text = plain(reference)
    number = INTEGER.fullmatch(text) or DECIMAL.fullmatch(text) or FRACTION.fullmatch(text)
    found = [*(_of_number(text) if number else ()), *_of_text(text), *_of_root(text)]
    if not WORD.fullmatch(text):
        found += _of_formula(text)
    pairs = (Pair(kind, reference, variant) for kind, variants in found for variant in variants)
    yield from (pair for pair in dict.fromkeys(pairs) if pair.variant != reference)


# --- another value -------------------------------------------------------------------------------


def _other_digit(text: str, place: int, chosen: random.Random) -> str:
    digit = chosen.choice([other for other in "123456789" if other != text[place]])
    return text[:place] + digit + text[place + 1 :]


def _other_number(text: str) -> Iterator[tuple[str, Iterable[str]]]:
    yield "sign", (text[1:] if text.startswith("-") else f"-{text}",)
    yield "factor of ten", (f"{text}0" if INTEGER.fullmatch(text) else f"{text}e1", rf"{text} \times 10^{{-1}}")


def _other_pair(text: str) -> Iterator[tuple[str, Iterable[str]]]:
    pair = PAIR.fullmatch(text)
    if pair is None or pair[2] == pair[3]:
        return
    opening, first, second, closing = pair.groups()
    yield "swapped coordinates", (f"{opening}{second}, {first}{closing}",)
    if re.search(r"[\[\]]|\\infty", text):
        yield "open for closed bound", (f"{'[' if opening == '(' else '('}{first}, {second}{closing}",)
        yield "open for closed bound", (f"{opening}{first}, {second}{']' if closing == ')' else ')'}",)


def _other_formula(text: str) -> Iterator[tuple[str, Iterable[str]]]:
    if not RELATED.search(text):
        yield "sign", (f"-({text})",)
    terms = _terms(text)
    if len(terms) > 1:
        turned = [("-" if term[0] == "+" else "+") + term[1:] for term in terms[-1:]]
        yield "sign of a term", ("".join(terms[:-1] + turned).removeprefix("+"),)
    for name, other in (
        ("sin", "cos"),
        ("cos", "sin"),
        (r"\cup", r"\cap"),
        (r"\pi", "e"),
        ("sqrt", "sqrt[3]"),
        ("<", ">"),
    ):
        changed = re.sub(rf"{re.escape(name)}(?![A-Za-z\[])", lambda _, other=other: other, text, count=1)
        yield "another function or sign", (changed,) if changed != text and "(2 t)+" not in text else ()
    if LIST.fullmatch(text):
        parts = re.split(r", ?", text)
        yield "part of a list", (", ".join(parts[1:]), f"{text}, 77")


def unequal_pairs(reference: str, chosen: random.Random) -> Iterator[Pair]:
    """Rewritings that change the value; `chosen` draws the digits."""
    text = plain(reference)
    number, word = INTEGER.fullmatch(text) or DECIMAL.fullmatch(text), WORD.fullmatch(text)
    places = [found.start() for found in re.finditer(r"\d", text)]
    digits = [_other_digit(text, place, chosen) for place in chosen.sample(places, min(3, len(places)))]
    found: list[tuple[str, Iterable[str]]] = [("one digit", digits)]
    if word:
        other = [one for one in ("odd", "west", "circle", "Maria", "A", "D") if one.lower() != word[1].lower()]
        found.append(("another word", (rf"\text{{{other[0]}}}", other[1], other[-1])))
    elif number:
        found += _other_number(text) if _value(text) else ()
    else:
        found += [*_other_pair(text), *_other_formula(text)]
    yield from (Pair(kind, reference, variant) for kind, variants in found for variant in variants)
