r"""Whether two parsed answers have the same value: math-verify's comparison, with numbers compared relatively.

math-verify rounds to six places after the point, so that 10^{-20} equals 10^{-21}, and compares symbols by `simplify`,
which does not find that sqrt(1/n) is 1/sqrt(n). A private copy of its module gets `same_value` instead. Thus evalscope,
which uses math-verify in the same process, keeps math-verify's own comparison.
"""

from __future__ import annotations

import importlib.util
import math
import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any

import math_verify.grader
import mpmath
import sympy
from sympy.core.function import AppliedUndef

from egpo.common.answer_numbers import Number, same_number

PRECISION = 60  # decimal digits of a constant
SAME_CONSTANT = sympy.Float("1e-40")  # relative
NEARLY_ZERO = sympy.Float("1e-80")  # a constant below it may be what rounding leaves of a zero
POINTS = 12
DEFINED = 4  # points at which both expressions must have a value
SAME_AT_A_POINT = 1e-9  # relative, in double precision
_UNEVALUATED = (AppliedUndef, sympy.Derivative, sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit)


def _number(expression: sympy.Basic) -> Number | None:
    """A number that is written in digits. math-verify reads decimals as floats, whose shortest form has the digits."""
    if isinstance(expression, sympy.Rational):
        return Number(Fraction(int(expression.p), int(expression.q)))
    if not isinstance(expression, sympy.Float):
        return None
    written = Decimal(repr(float(expression)))
    _, digits, exponent = written.as_tuple()
    return Number(Fraction(written), Fraction(10) ** int(exponent), len(digits))


def _evaluated(expression: Any) -> Any:
    """The expression with i as the imaginary unit, which math-verify reads as a symbol in most cases."""
    done = expression.doit()
    return done.xreplace({symbol: sympy.I for symbol in done.free_symbols if symbol.name == "i"})


def _exact(expression: sympy.Basic) -> sympy.Basic:
    """The expression with each decimal as the fraction that it is written as."""
    return expression.xreplace({one: sympy.Rational(repr(float(one))) for one in expression.atoms(sympy.Float)})


def _same_constant(one: sympy.Basic, other: sympy.Basic) -> bool | None:
    number, written = _number(one), _number(other)
    if number and written:
        return same_number(number, written)
    value, reference = (_exact(side).evalf(PRECISION) for side in (one, other))
    if not all(side.is_number and side.is_finite for side in (value, reference)):
        return None
    size = max(abs(value), abs(reference))
    if size < NEARLY_ZERO:
        return None
    decimal, exact = (number, reference) if number else (written, value)
    if decimal and decimal.unit:
        return bool(exact.is_real) and same_number(decimal, Number(Fraction(str(exact))))
    return bool(abs(value - reference) <= SAME_CONSTANT * size)


@cache
def _points(names: int) -> list[tuple[list[float], bool]]:
    """(values of `names` symbols, whether all are positive), the positive ones first."""
    source = random.Random(0)
    positive = [([source.uniform(0.3, 3) for _ in range(names)], True) for _ in range(POINTS // 2)]
    return positive + [([source.uniform(-3, 3) for _ in range(names)], False) for _ in range(POINTS // 2)]


def _function(symbols: list[sympy.Symbol], expression: sympy.Basic) -> Callable[..., Any]:
    """The expression as a function: complex where all symbols are positive, else None unless every step is real."""
    positive = sympy.lambdify(symbols, expression, modules="mpmath")
    real = sympy.lambdify(symbols, expression, modules="math")

    def value(point: list[float], all_positive: bool) -> complex | None:
        try:
            found = complex(positive(*map(mpmath.mpf, point)) if all_positive else float(real(*point)))
        except (ArithmeticError, ValueError, TypeError):
            return None
        return found if math.isfinite(abs(found)) else None

    return value


def _values(one: sympy.Basic, other: sympy.Basic) -> Iterator[tuple[complex, complex]]:
    """Values of both at the points where both are defined. Symbols of one name are one symbol."""
    names = sorted({symbol.name for side in (one, other) for symbol in side.free_symbols})
    symbols = {name: sympy.Symbol(name) for name in names}
    sides = [side.xreplace({symbol: symbols[symbol.name] for symbol in side.free_symbols}) for side in (one, other)]
    functions = [_function([symbols[name] for name in names], _exact(side)) for side in sides]
    for point in _points(len(names)):
        value, reference = (function(*point) for function in functions)
        if value is not None and reference is not None:
            yield value, reference


def _same_function(one: sympy.Basic, other: sympy.Basic) -> bool | None:
    """Whether two expressions with symbols agree wherever both are defined over the reals, tried at points."""
    count = 0
    for value, reference in _values(one, other):
        if abs(value - reference) > SAME_AT_A_POINT * max(abs(value), abs(reference)):
            return False
        count += 1
    return True if count >= DEFINED else None


def same_value(one: Any, other: Any) -> bool | None:
    """Whether two expressions of sympy have the same value; None where this cannot be told by numbers.

    Constants must agree to 40 digits, decimals as in `egpo.common.answer_numbers.same_number`; expressions with symbols
    must agree at points where both are defined.
    """
    one, other = (_evaluated(side) if hasattr(side, "doit") else side for side in (one, other))
    if isinstance(one, sympy.MatrixBase) and isinstance(other, sympy.MatrixBase):
        if one.shape != other.shape:
            return False
        return all(same_value(*pair) is True for pair in zip(one.flat(), other.flat(), strict=True))
    if not (isinstance(one, sympy.Expr) and isinstance(other, sympy.Expr)):
        return None
    if one.has(*_UNEVALUATED) or other.has(*_UNEVALUATED):
        return None
    try:
        same = _same_function if one.free_symbols or other.free_symbols else _same_constant
        return same(one, other)
    except (ArithmeticError, AttributeError, NameError, NotImplementedError, TypeError, ValueError):
        return None


@cache
def grader() -> Any:
    """math-verify's module of comparisons with `same_value` in place of rounding, as a copy of its own."""
    found = importlib.util.spec_from_file_location("egpo_math_verify_grader", math_verify.grader.__file__)
    assert found and found.loader
    module: Any = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    simplified = module.sympy_symbolic_eq

    def by_numbers(one: Any, other: Any, *_: int) -> bool:
        return same_value(one, other) is True

    def by_symbols(one: Any, other: Any) -> bool:
        return same_value(one, other) is None and simplified(one, other)

    module.sympy_numeric_eq, module.sympy_symbolic_eq = by_numbers, by_symbols
    return module
