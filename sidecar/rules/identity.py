"""What a rule is, whatever way it is written: windows and open alerts live on while it is equal.

The order of matchers, blanks, `3.0` for `3`, parentheses that change nothing and a pattern without
special letters instead of a text make no other rule.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Any

from sidecar.matchers import Matcher
from sidecar.rules.condition import (
    Aggregate,
    Amount,
    And,
    Comparison,
    Not,
    Or,
    Part,
    Reckoned,
)
from sidecar.rules.rule import Rule

# Patterns that name the texts they match, and no more: without a dot, which stands for any letter.
_TEXTS = re.compile(r"[^\\.+*?()|\[\]{}^$]*(?:\|[^\\.+*?()|\[\]{}^$]*)*")
_Meaning = tuple[Any, ...]


def signature(rule: Rule) -> str:
    """Return a digest of what stored windows depend on, by its meaning."""
    resolve = None if rule.resolve is None else _matchers(rule.resolve)
    within, condition = rule.within, _part(rule.condition.whole)
    kind = () if rule.expect is None else ("expect",)
    return _digest((_matchers(rule.match), rule.by, condition, within, resolve, rule.same, *kind))


def digest_of(rules: Iterable[Rule]) -> str:
    """Return a digest of what rules make of events, in whatever order they stand."""
    return _digest(tuple(sorted((rule.name, signature(rule)) for rule in rules)))


def former_signature(rule: Rule) -> str:
    """Return the digest of the same as it is written, under which earlier versions stored it."""
    parts = (
        [str(m) for m in rule.match],
        list(rule.by),
        rule.condition.text,
        rule.within,
        None if rule.resolve is None else [str(m) for m in rule.resolve],
        *([list(rule.same)] if rule.same else []),
    )
    return _digest(parts)


def _digest(parts: _Meaning) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _matchers(matchers: tuple[Matcher, ...]) -> _Meaning:
    return tuple(sorted({_matcher(one) for one in matchers}))


def _matcher(one: Matcher) -> _Meaning:
    """Return a name, whether it must be, and the texts it may be; or a pattern."""
    wanted = one.op in ("=", "=~")
    if one.op in ("=", "!="):
        return (one.name, wanted, "texts", one.value)
    if _TEXTS.fullmatch(one.value):
        return (one.name, wanted, "texts", *sorted(set(one.value.split("|"))))
    return (one.name, wanted, "pattern", one.value)


def _part(part: Part) -> _Meaning:
    match part:
        case Comparison():
            return _comparison(part)
        case Not():
            return ("not", _part(part.part))
        case And() | Or():
            kind = type(part).__name__
            inner = (_part(one) for one in part.parts)
            # What a parenthesis holds beside its like stands there without it.
            flat = (one[1:] if one[0] == kind else (one,) for one in inner)
            return (kind, *(one for some in flat for one in some))


def _comparison(part: Comparison) -> _Meaning:
    left, below = part.ratio or (part.left, None)
    divisor = None if below is None else _aggregate(below)
    numbers = part.numbers if part.number is None else (part.number,)
    texts = () if numbers else tuple(sorted(set(part.values)))
    op = "in" if part.op == "==" and part.right is None else part.op
    right = () if part.right is None else (_amount(part.right),)
    return (
        "comparison", _amount(left), divisor, op, tuple(sorted(set(numbers))), texts, *right
    )  # fmt: skip


def _amount(one: Amount) -> _Meaning:
    match one:
        case Aggregate():
            return _aggregate(one)
        case Reckoned():
            sides = (_amount(one.left), _amount(one.right))
            return (one.sign, *(sorted(sides, key=repr) if one.sign in "+*" else sides))
        case _:
            return (one,)


def _aggregate(one: Aggregate) -> _Meaning:
    number = (one.number,) if one.function.takes_number else ()
    offset = ("offset", one.offset) if one.offset else ()
    return (one.function.name, one.field, _matchers(one.match), *number, *offset)
