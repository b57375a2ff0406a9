r"""The text of an answer in one form, before it is compared or parsed. Candidate and truth get the same rules.

docs/answers.md lists the rules with their reasons; tests/test_answers.py has cases for each.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

# --- Unicode -------------------------------------------------------------------------------------

_RAISED, _LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎"
_TO_LINE = str.maketrans(_RAISED + _LOWERED, "0123456789+-=()ni0123456789+-=()")
_COMMANDS = {
    **{"×": "times", "⋅": "cdot", "·": "cdot", "∙": "cdot", "≤": "le", "⩽": "le", "≥": "ge", "⩾": "ge", "≠": "ne"},
    **{"≈": "approx", "±": "pm", "∓": "mp", "∞": "infty", "∪": "cup", "∩": "cap", "∈": "in", "∅": "emptyset"},
    **{"∖": "setminus", "∠": "angle", "…": "ldots", "⟨": "langle", "⟩": "rangle", "∑": "sum", "∏": "prod", "∫": "int"},
    **{"µ": "mu", "ϕ": "phi", "ϵ": "epsilon", "ϑ": "vartheta"},
}
_CHARACTERS = {
    **{character: rf"\{command} " for character, command in _COMMANDS.items()},
    **dict.fromkeys("−–—‒﹣", "-"),
    **dict.fromkeys("÷∕⁄", "/"),
    **dict.fromkeys("′’‘", "'"),
    **dict.fromkeys("°º", r"^\circ "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u2061\u2062\u2063", ""),
    "∗": "*",
    "ℝ": r"\mathbb{R}",
}
_ROOTS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}
# What a root sign without LaTeX's braces covers: brackets, a number, a command or a letter.
_ROOT = re.compile(r"([√∛∜])\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+(?:\.\d+)?|\\[A-Za-z]+|[A-Za-z]))")


def _latex(character: str) -> str:
    """A character as LaTeX; letters and digits of another width or style become the plain ones."""
    if character.isascii() or character in _ROOTS:
        return character
    if character in _CHARACTERS:
        return _CHARACTERS[character]
    plain = unicodedata.normalize("NFKC", character)
    if len(plain) > 1 and "⁄" in plain:  # ½ and its like
        return r"\frac{{{}}}{{{}}}".format(*plain.split("⁄"))
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", unicodedata.name(plain, "") if len(plain) == 1 else "")
    if greek is None:
        return plain
    letter = greek[2].lower().replace("lamda", "lambda")
    return rf"\{letter if greek[1] == 'SMALL' else letter.capitalize()} "


def unicode_to_latex(text: str) -> str:
    """Unicode mathematics as LaTeX: ½, x², √5, π, ≤, −, 𝑥, full-width digits."""
    if text.isascii():
        return text
    text = re.sub(f"[{_RAISED}]+", lambda found: f"^{{{found[0].translate(_TO_LINE)}}}", text)
    text = re.sub(f"[{_LOWERED}]+", lambda found: f"_{{{found[0].translate(_TO_LINE)}}}", text)
    text = "".join(map(_latex, text))
    return _ROOT.sub(lambda found: f"{_ROOTS[found[1]]}{{{found[2] or found[3] or found[4]}}}", text)


# --- rules ---------------------------------------------------------------------------------------


class Rule(NamedTuple):
    """One rewriting: what it is about, where it applies, and what takes the place of that."""

    about: str
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]


def _rule(about: str, pattern: str, replacement: str | Callable[[re.Match[str]], str]) -> Rule:
    return Rule(about, re.compile(pattern, re.ASCII), replacement)


def _braced(argument: str) -> str:
    return argument if argument.startswith("{") else f"{{{argument}}}"


def _repeating(found: re.Match[str]) -> str:
    r"""0.1\overline{6} as a fraction."""
    whole, fixed, period = found["whole"] or "0", found["fixed"], found["period"]
    nines = 10 ** len(period) - 1
    return rf"\frac{{{int(whole + fixed) * nines + int(period)}}}{{{10 ** len(fixed) * nines}}}"


_TEXT_COMMANDS = "text|textbf|textit|textrm|textsf|textnormal|mathrm|mathit|mathsf|mbox|hbox"
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_LETTERS = {"gamma": r"\varrho", "Gamma": r"\varpi", "E": r"\varsigma", "I": r"\eth", "e": r"\hslash"}
# A comma before three digits groups them, except inside brackets: (1,234) is a point.
_COMMAS = (
    r"(?<![\d.,(\[{_^])\d{1,3}(?:\{,\}\d{3}|,\d{3})+(?![\d,]| *[)\]}])|(?<![\d.,_^])\d{1,3}(?:\{,\}\d{3})+(?![\d,])"
)

# In this order. Patterns are ASCII: \d is 0 to 9.
RULES = (
    _rule("delimiters of a formula", r"(?<!\\)\\[()\[\]]|^ *\*\*(?=[^*]*\*\* *$)|(?<=[^*])\*\* *$", ""),
    _rule("approximately", r"^ *(?:\\approx|\\sim)(?![A-Za-z]) *", ""),
    _rule("currency", r"\\?[$€£¥₹]|\\(?:pounds|euro|texteuro)(?![A-Za-z])", ""),
    _rule("negative space", r"(?<!\\)\\!\s*", ""),
    _rule("spaces", r"(?<!\\)\\[,;:>\s]|~|\\q?quad(?![A-Za-z])|\\hspace\*?\{[^{}]*\}", " "),
    _rule("spaces in a row", r"\s+", " "),
    _rule("sizes of brackets", r"\\(?:left|right) ?\.|\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z]) ?", ""),
    _rule("styles", r"\\(?:displaystyle|textstyle|scriptstyle|limits|rm|bf|it)(?![A-Za-z]) ?", ""),
    _rule("bold letters", r"\\(?:mathbf|boldsymbol|bm) ?\{([^{}]*)\}", r"\1"),
    _rule("two names of a relation", r"\\(le|ge|ne)q(?:slant)?(?![A-Za-z])", r"\\\1"),
    _rule("two names of a brace", r"\\([lr])brace(?![A-Za-z]) ?", lambda found: rf"\{'{' if found[1] == 'l' else '}'}"),
    _rule("kinds of fractions", r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
    _rule(
        "fractions without braces",
        r"\\frac *(\d|\{[^{}]*\}) *(\d(?!\d)|\{[^{}]*\})",
        lambda found: rf"\frac{_braced(found[1])}{_braced(found[2])}",
    ),
    _rule("roots without braces", r"\\sqrt *(\d|[A-Za-z](?![A-Za-z]))", r"\\sqrt{\1}"),
    _rule("single letters as text", rf"\\(?:{_TEXT_COMMANDS}) ?\{{ *([A-Za-z]) *\}}(?=[A-Za-z]|\\?[\^_(=+-])", r"\1"),
    _rule("text", rf"\\(?:{_TEXT_COMMANDS}) ?\{{ *([^{{}}]*?) *\}}", r"\\text{\1}"),
    _rule("numbers as text", r"\\text\{(?=[\d.,]+[^{}]*\}$)([^{}]*)\}$", r"\1"),
    _rule("alternatives", r",? *(?:\\text\{(?:and|or)\}|(?<![A-Za-z\\{])(?:and|or)(?![A-Za-z}])) *", ", "),
    _rule("membership", r"^ *[A-Za-z] *\\in(?![A-Za-z]) *(?=[\[({\\])", ""),
    _rule("digits grouped by commas", _COMMAS, lambda found: re.sub(r"[{},]", "", found[0])),
    _rule(
        "digits grouped by blanks",
        r"(?<![\d.,/}_^])(?<!\d )\d{1,3}(?: \d{3})+(?![\d/]| [/\d])",
        lambda found: found[0].replace(" ", ""),
    ),
    _rule(
        "repeating decimals",
        r"(?<![\d.])(?P<whole>\d*)\.(?P<fixed>\d*)(?:\\(?:overline|bar|dot) ?\{? ?|\((?=\d+\)))(?P<period>\d+) ?[})]?",
        _repeating,
    ),
    _rule(
        "repeating decimals with dots",
        r"(?<![\d.])(?P<whole>\d*)\.(?P<fixed>\d{0,9}?)(?P<period>\d{1,9}?)(?P=period){2,} ?(?:\\l?dots|\.\.\.)",
        _repeating,
    ),
    _rule("scientific notation", r"(?<=[\d.])[eE](-?\d{1,6}|\+\d{2,6})(?![\d.A-Za-z])", r" \\times 10^{\1}"),
    _rule("large numbers in words", rf"(?<=\d) ?(?:\\text\{{)?({'|'.join(_SCALES)})s?(?![A-Za-z])\}}?",
          lambda found: rf" \times 10^{{{_SCALES[found[1]]}}}"),
    # math-verify takes them for the gamma function, Euler's number and the imaginary unit, and drops the index of the
    # last two. In their place letters that no one uses.
    _rule("gamma as a letter", r"\\(gamma|Gamma)(?![A-Za-z])(?! ?\()", lambda found: _LETTERS[found[1]]),
    _rule("e, E and I with an index", r"(?<![A-Za-z\\])([eEI])(?= ?_)", lambda found: _LETTERS[found[1]]),
    _rule("powers in ASCII", r"\*\*", "^"),
    _rule("pi and infinity in ASCII", r"(?<![A-Za-z\\{])(pi|infty|infinity)(?![A-Za-z])",
          lambda found: r"\pi" if found[1] == "pi" else r"\infty"),
)  # fmt: skip


def apply_rules(answer: str) -> str:
    """The answer in LaTeX, rewritten by RULES, without a full stop at its end."""
    text = unicode_to_latex(answer).strip()
    text = text if text.endswith(("right.", "..")) else text.removesuffix(".")
    for rule in RULES:
        text = rule.pattern.sub(rule.replacement, text)
    return text.strip().removesuffix(".").strip()


# --- units ---------------------------------------------------------------------------------------

_SYNONYMS = {
    "mm": "millimeter millimetre",
    "cm": "centimeter centimetre",
    "m": "meter metre",
    "km": "kilometer kilometre",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard",
    "mi": "mile",
    "g": "gram",
    "kg": "kilogram",
    "mg": "milligram",
    "lb": "pound",
    "oz": "ounce",
    "l": "liter litre",
    "ml": "milliliter millilitre",
    "s": "second sec",
    "min": "minute",
    "h": "hour hr",
    "d": "day",
    "week": "week",
    "month": "month",
    "year": "year yr",
    "deg": "degree",
    "rad": "radian",
    "%": "percent percentage pct",
    "cent": "cent",
    "$": "dollar usd buck",
}
_UNITS = {word: unit for unit, words in _SYNONYMS.items() for word in (unit, *words.split())}
_DIMENSIONS = {"square": "^2", "sq": "^2", "cubic": "^3", "cu": "^3"}
_ALWAYS = sorted((word for word in (*_UNITS, *_DIMENSIONS) if len(word) > 1 and word not in ("in", "min")), key=len)
_WORD = rf"(?:{'|'.join(reversed(_ALWAYS))})(?:s|es)?(?![A-Za-z])"
_RATE = r"(?:km|cm|m|mi|ft|g|kg|l) ?/ ?(?:h|hr|hour|s|sec|second|min|m|cm|l)(?![A-Za-z])"
_POWER = r"(?: ?\^ ?(?:\d|\{ ?-?\d ?\}))?"
# At the end of an answer: text after anything, a known unit after a number or bracket, other words after a number.
_UNIT_AT_END = re.compile(
    rf"(?P<value>.*[^\s_^\\{{]) ?\\text\{{(?P<text>[^{{}}]*[A-Za-z%][^{{}}]*)\}}(?P<power>{_POWER})(?: ?\([^()]*\))?"
    rf"|(?P<number>.*[\d}})\]]) ?(?P<known>(?:{_WORD}{_POWER} ?(?:/ ?|per )?)*{_WORD}{_POWER}|{_RATE}{_POWER})"
    r"|(?P<digits>-?[\d.,/]+) ?\(?(?P<words>[A-Za-z][A-Za-z' -]+)\)?",
    re.ASCII | re.DOTALL,
)
_PERCENT = re.compile(r"(?P<value>.*[^\s\\]) ?\\?%", re.DOTALL)
_BASE = re.compile(r"(?P<value>[\dA-F]*\d[\dA-F]*) ?_ ?\{? ?(?:\\text\{)?(?P<base>\d+|[a-z]+)\}? ?\}?", re.ASCII)
_DEGREES = re.compile(r" ?\^ ?\{? ?\\(?:circ|degree)(?![A-Za-z]) ?\}?|\\(?:degree|textdegree)s?(?![A-Za-z])")
_TRIGONOMETRY = re.compile(r"(?<![A-Za-z])(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")


def _canonical_unit(words: str) -> str | None:
    """A unit under one name, such as "in^2" for "square inches"; None for words that are not units."""
    power, found = "", []
    for word in re.findall(r"[A-Za-z%$]+|\^ ?\{? ?-?\d|/", words.lower().replace(" per ", " / ")):
        single = next(
            (form for form in (word, word.removesuffix("s"), word.removesuffix("es")) if form in _UNITS), None
        )
        if word in _DIMENSIONS:
            power = _DIMENSIONS[word]
        elif word[0] in "^/":
            found.append(re.sub(r"[ {]", "", word))
        elif single is None:
            return None
        else:
            found += [_UNITS[single], power]
            power = ""
    return "".join(found) or None


_PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)


class Answer(NamedTuple):
    """An answer, taken apart.

    Attributes:
        text: LaTeX without unit, spaces in a row, or sizes of brackets.
        unit: one name of a known unit ("cm", "in^2", "deg", "%"), the base of a number ("base 8"), or None.
    """

    text: str
    unit: str | None


def _without_degrees(text: str) -> tuple[str, bool]:
    """The text without signs of degrees, and whether one stood at its end. Angles of functions become radians."""
    if _TRIGONOMETRY.search(text):
        return re.sub(rf"(\d+(?:\.\d+)?)(?:{_DEGREES.pattern})", r"(\1 \\cdot \\frac{\\pi}{180})", text), False
    text = re.sub(rf"({_DEGREES.pattern}) ?(?:\\text\{{[CFK]\}}|[CFK])$", r"\1", text)
    plain = _DEGREES.sub("", text)
    return plain.strip(), plain != text


@lru_cache(maxsize=10_000)
def read_answer(answer: str) -> Answer:
    """The answer by RULES, and its unit apart."""
    if _PLAIN_NUMBER.fullmatch(answer):  # no rule applies
        return Answer(answer, None)
    text, degrees = _without_degrees(apply_rules(answer))
    if degrees:
        return Answer(text, "deg")
    percent, based = _PERCENT.fullmatch(text), _BASE.fullmatch(text)
    if percent:
        return Answer(percent["value"], "%")
    if based:
        return Answer(based["value"], f"base {based['base']}")
    found = _UNIT_AT_END.fullmatch(text)
    if found is None:
        return Answer(text, None)
    value = found["value"] or found["number"] or found["digits"]
    words = found["text"] or found["known"] or found["words"]
    return Answer(value.strip(), _canonical_unit(words + (found["power"] or "")))


# --- words ---------------------------------------------------------------------------------------


def squeeze(text: str) -> str:
    """The text without blanks, but for those between digits (1 1/2 is not 11/2), and braces around one character."""
    return re.sub(r"([_^])\{(\w)\}", r"\1\2", re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text))


def plain_words(text: str) -> str:
    """A text in small letters without LaTeX's commands for text, and without brackets around a single letter."""
    inner = re.sub(r"\\text\{([^{}]*)\}", r"\1", text)
    return re.sub(r"^\(([a-z])\)$", r"\1", " ".join(inner.lower().split()))


def words_of(text: str) -> str | None:
    """The words of an answer that is not mathematics: text, the bracketed letter of a choice, a longer word."""
    words = plain_words(text)
    if re.fullmatch(r"\([A-Za-z]\)", text) or re.fullmatch(r"(?:\\text\{[^{}]*\} ?)+", text):
        return words
    return words if re.fullmatch(r"[a-z][a-z' ,-]*", words) and re.search(r"[a-z]{4}", words) else None


# --- relations -----------------------------------------------------------------------------------

_BOUND = r"([^<>,]+?)"
_RELATION = r" *(<|>|\\le|\\ge)(?![A-Za-z]) *"
_ONE_BOUND = re.compile(rf"([A-Za-z]){_RELATION}{_BOUND}|{_BOUND}{_RELATION}([A-Za-z])")
_TWO_BOUNDS = re.compile(rf"{_BOUND} *(<|\\le)(?![A-Za-z]) *[A-Za-z]{_RELATION}{_BOUND}")


def _interval(relation: str) -> str | None:
    r"""The interval that a relation of one letter describes: -2 < x \le 7 is (-2, 7]."""
    two, one = _TWO_BOUNDS.fullmatch(relation), _ONE_BOUND.fullmatch(relation)
    if two and two[3] in ("<", "\\le"):
        return f"{'(' if two[2] == '<' else '['}{two[1]}, {two[4]}{')' if two[3] == '<' else ']'}"
    if one is None:
        return None
    sign, bound = (one[2], one[3]) if one[1] else ({"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}[one[5]], one[4])
    if sign in ("<", "\\le"):
        return rf"(-\infty, {bound}{')' if sign == '<' else ']'}"
    return rf"{'(' if sign == '>' else '['}{bound}, \infty)"


def as_intervals(text: str) -> str:
    """Relations of one letter as a union of intervals; other texts unchanged."""
    found = [_interval(relation.strip()) for relation in text.split(", ")]
    return text if None in found else r" \cup ".join(filter(None, found))


def has_relation(text: str) -> bool:
    r"""Whether the text has one of <, >, \\le, \\ge."""
    return bool(re.search(r"[<>]|\\[lg]e(?![A-Za-z])", text))
