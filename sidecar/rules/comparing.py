"""The tests a comparison makes of an aggregate's value, and which of them time alone can pass."""

from collections.abc import Callable
from typing import Any

from sidecar.parse.event import as_number, as_text
from sidecar.rules.rule import Comparison, Function

_TEST: dict[str, Callable[[float, float], bool]] = {
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
    "==": lambda value, bound: value == bound,
    "!=": lambda value, bound: value != bound,
}
# An aggregate that only falls as samples leave the window passes these only through an event.
_FALLING = {(f, op) for f in ("count", "distinct", "max") for op in (">", ">=")}
_RISING = {("min", "<"), ("min", "<=")}


def bounds(part: Comparison) -> tuple[float, ...]:
    """Return the numbers a comparison holds its aggregate against, ascending."""
    one = () if part.number is None else (part.number,)
    return tuple(sorted({*one, *part.numbers}))


def value_test(part: Comparison) -> Callable[[Any], bool]:
    """Return the test of a value that `part` stands for; `last()` compares texts as texts."""
    if part.left.function is Function.LAST:
        return _state_test(part)
    return _number_test(part)


def needs_event(part: Comparison) -> bool:
    """Return whether only an event can make `part` true, never the mere passing of time."""
    if part.divisor is not None:
        return False
    function = part.left.function
    return function is Function.LAST or (function.value, part.op) in _FALLING | _RISING


def _number_test(part: Comparison) -> Callable[[float], bool]:
    if part.op == "in":
        return frozenset(part.numbers).__contains__
    test, bound = _TEST[part.op], part.number
    if bound is None:
        raise ValueError(f"{part.left.function}() is a number and needs one to compare with")
    return lambda value: test(value, bound)


def _state_test(part: Comparison) -> Callable[[Any], bool]:
    if part.number is not None or part.numbers:
        test = _number_test(part)
        return lambda value: (number := as_number(value)) is not None and test(number)
    texts = frozenset(part.values)
    wanted = part.op != "!="
    return lambda value: (as_text(value) in texts) is wanted
