"""What is no fault of writing and yet cannot be meant: rules that can never fire, or never end."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from sidecar.durations import write_duration
from sidecar.matchers import Matcher
from sidecar.rules.aggregates import COUNT, Shows
from sidecar.rules.condition import (
    Aggregate,
    Amount,
    Comparison,
    Measured,
    Reckoned,
    alternatives,
    bounds,
    is_absence,
    value_test,
)
from sidecar.rules.rule import Rule
from sidecar.syntax.faults import did_you_mean
from sidecar.syntax.table import Reading

_SOME_TEXT = "\0"  # stands for the texts that nobody names


def warn_of_doubts(reading: Reading, rule: Rule) -> None:
    """Warn, at their places, of the parts of a rule that contradict each other."""

    def warn(key: str, message: str, hint: str = "") -> None:
        reading.faults.warning(reading.place(rule, key), message, hint)

    if excluded := contradiction(rule.match):
        warn("match", f"no event can match: {excluded}")
        return
    for message, hint in _condition_doubts(rule):
        warn("condition", message, hint)
    if rule.resolve is None or is_absence(rule.condition):
        return
    if excluded := contradiction(rule.resolve):
        warn("resolve", f"no event can resolve the alert: {excluded}")
    elif rule.resolve and set(rule.resolve) <= set(rule.match):
        message = "every event that matches resolves as well, so the alert can never fire"
        warn("resolve", message, "name in `resolve` what only the end of the trouble has")


def contradiction(matchers: Sequence[Matcher]) -> str:
    """Return which matchers exclude each other, or nothing.

    Only where one of them lists the texts it takes can that be said for certain.
    """
    for name in dict.fromkeys(matcher.name for matcher in matchers):
        mine = [matcher for matcher in matchers if matcher.name == name]
        if allowed_texts(matchers, name) == ():
            return " and ".join(f"`{matcher}`" for matcher in mine) + " exclude each other"
    return ""


def allowed_texts(matchers: Sequence[Matcher], name: str) -> tuple[str, ...] | None:
    """Return the only texts that `name` can have, or None where there is no such list."""
    mine = [matcher for matcher in matchers if matcher.name == name]
    listed = next((texts for m in sorted(mine, key=_exact_first) if (texts := _listed(m))), None)
    if listed is None:
        return None
    return tuple(text for text in listed if all(m.matches(text) for m in mine))


def _exact_first(matcher: Matcher) -> bool:
    return matcher.op != "="


def _listed(matcher: Matcher) -> tuple[str, ...]:
    # A dot in a pattern stands for any letter: such a list is not the whole truth.
    if matcher.op == "=~" and "." in matcher.value:
        return ()
    return matcher.named_values()


def _condition_doubts(rule: Rule) -> Iterator[tuple[str, str]]:
    """Yield message and hint of each part of the condition that cannot be meant."""
    for part in rule.condition.comparisons:
        for aggregate in part.aggregates:
            if excluded := contradiction((*rule.match, *aggregate.match)):
                yield f"{shown(aggregate)} has nothing to count: {excluded}", ""
    ways = alternatives(rule.condition.whole)
    doubts = [list(_way_doubts(rule, way)) or list(_unguarded(way)) for way in ways]
    yield from dict.fromkeys(doubt for some in doubts for doubt in some)


# A comparison, and what it must come to.
_Asked = tuple[Comparison, bool]


def _way_doubts(rule: Rule, way: Sequence[_Asked]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with one way in which a condition comes true: aggregate by aggregate."""
    seen: dict[Measured, list[_Asked]] = {}
    for part, holds in way:
        if part.right is None:
            seen.setdefault(part.left, []).append((part, holds))
    for left, asked in seen.items():
        if not any(holds for _, holds in asked):
            continue  # so it is of nothing at all
        if (state := asked[0][0].state) is not None:
            yield from _state_doubts(rule, state, asked)
        elif not _passes(_numbers(left, asked), asked):
            yield _never(rule, asked), _why(left)


def _never(rule: Rule, asked: Sequence[_Asked]) -> str:
    if len(alternatives(rule.condition.whole)) == 1:
        return "the condition can never be true"
    parts = (f"{'' if holds else 'not '}{written(part)}" for part, holds in asked)
    return f"`{' and '.join(parts)}` can never be true"


def written(part: Comparison) -> str:
    """Return a comparison as a user would write it."""
    left = shown(part.left)
    if part.op == "in":
        return f"{left} in [{', '.join(part.values)}]"
    if part.right is not None:
        return f"{left} {part.op} {shown(part.right)}"
    return f"{left} {part.op} {part.values[0] if part.number is None else f'{part.number:g}'}"


def _unguarded(way: Sequence[_Asked]) -> Iterator[tuple[str, str]]:
    """Yield the ratios, and factors of earlier windows, beside which no least number is asked."""
    single = [isinstance(part.left, Aggregate) and part.right is None for part, _ in way]
    more = [_asks_for_more(part, holds=holds) for part, holds in way]
    if any(map(all, zip(single, more, strict=True))):
        return
    for part in (part for (part, _), one in zip(way, single, strict=True) if not one):
        said = next((one for one in (part.left, part.right) if _scales(one)), None)
        if said is not None:
            message = f"{shown(said)} has no guard against small numbers"
            yield message, "one event can decide it; write for example `and count() >= 10`"


def _scales(amount: Measured | None) -> bool:
    """Return whether what is small may come out large: a ratio, or a factor of what was."""
    match amount:
        case Aggregate():
            return amount.offset > 0
        case Reckoned():
            return amount.sign == "/" or any(
                _scales(one) for one in (amount.left, amount.right) if not isinstance(one, float)
            )
        case None:
            return False


def _asks_for_more(part: Comparison, *, holds: bool) -> bool:
    return part.op in ((">", ">=") if holds else ("<", "<="))


def _state_doubts(
    rule: Rule, aggregate: Aggregate, asked: Sequence[_Asked]
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with comparisons of one `last()`: `match` may exclude their texts."""
    name, matchers = aggregate.field, (*rule.match, *aggregate.match)
    mine = [matcher for matcher in matchers if matcher.name == name]
    allowed = allowed_texts(matchers, name)
    never = [
        text
        for part, holds in asked
        if holds and part.op in ("==", "in")
        for text in part.values
        if not all(matcher.matches(text) for matcher in mine)
    ]
    for text in never:
        otherwise = f"`match` and the condition differ in what `{name}` can be"
        yield (
            f"{name} is never `{text}` here: no such event matches",
            did_you_mean(text, set(allowed or ()) - set(never), otherwise),
        )
    candidates: Sequence[float | str] = allowed or ()
    if allowed is None:
        named = [text for part, _ in asked for text in part.named]
        if not all(part.named for part, _ in asked if part.pattern is not None):
            return  # who knows what a pattern matches
        candidates = [*_numbers(aggregate, asked), *named, _SOME_TEXT]
    if not never and not _passes(candidates, asked):
        yield _never(rule, asked), f"{shown(aggregate)} cannot be all of that at once"


def _passes(candidates: Sequence[float | str], asked: Sequence[_Asked]) -> bool:
    tests = [(value_test(part), holds) for part, holds in asked]
    return any(all(test(one) is holds for test, holds in tests) for one in candidates)


def _numbers(left: Measured, asked: Sequence[_Asked]) -> list[float]:
    """Return numbers of which one passes if any number that `left` can have does."""
    edges = sorted({0.0, 1.0, *(bound for part, _ in asked for bound in bounds(part))})
    if _is_whole(left):
        near = {math.floor(edge) + step for edge in edges for step in (-1, 0, 1)}
        return [float(number) for number in sorted(near) if number >= 0]
    between = [(low + high) / 2 for low, high in pairwise(edges)]
    least, most = _range(left)
    numbers = [edges[0] - 1, *edges, *between, edges[-1] + 1]
    return [number for number in numbers if least <= number <= most]


def _range(left: Measured) -> tuple[float, float]:
    sides = (left.left, left.right) if isinstance(left, Reckoned) and left.sign == "/" else ()
    match sides:
        case (Aggregate() as above, Aggregate() as below) if _is_whole(above) and _is_whole(below):
            part_of = below.function is COUNT and set(below.match) <= set(above.match)
            return 0.0, 1.0 if part_of and above.offset == below.offset else math.inf
        case _:
            return -math.inf, math.inf


def _is_whole(amount: Measured) -> bool:
    return isinstance(amount, Aggregate) and amount.function.shows is Shows.HOW_MANY


def _why(left: Measured) -> str:
    least, most = _range(left)
    if most == 1:
        return f"{shown(left)} lies between 0 and 1"
    if least == 0:
        return f"{shown(left)} is never below 0"
    return f"{shown(left)} is a whole number from 0 up" if _is_whole(left) else _NONE


_NONE = "no number passes all of its comparisons"


def shown(amount: Amount) -> str:
    """Return an amount as a user would write it."""
    match amount:
        case Aggregate():
            number = f"{amount.number:g}" if amount.function.takes_number else ""
            inner = ", ".join(filter(None, (amount.field, number, *map(str, amount.match))))
            offset = f" offset {write_duration(amount.offset)}" if amount.offset else ""
            return f"{amount.function}({inner}){offset}"
        case Reckoned():
            left = _side(amount.left, _BINDS[amount.sign])
            return f"{left} {amount.sign} {_side(amount.right, _BINDS[amount.sign] + 1)}"
        case _:
            return f"{amount:g}"


_BINDS = {"+": 1, "-": 1, "*": 3, "/": 3}


def _side(amount: Amount, least: int) -> str:
    """Return one side of a reckoning, in parentheses where it binds less close than `least`."""
    loose = isinstance(amount, Reckoned) and _BINDS[amount.sign] < least
    return f"({shown(amount)})" if loose else shown(amount)
