"""What a condition says, and the instants that escalation asks for; `grammar` reads conditions."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, product
from typing import Any, Literal, NamedTuple

from sidecar.durations import parse_duration
from sidecar.matchers import Matcher
from sidecar.parse.event import Event, as_number, as_text, is_missing
from sidecar.parse.instants import instant, is_bad_instant
from sidecar.rules.aggregates import Comparator, Function, Shows

_TEST: dict[str, Callable[[float, float], bool]] = {
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
    "==": lambda value, bound: value == bound,
    "!=": lambda value, bound: value != bound,
}
# In how many ways that a condition can come true `check` looks at.
MAX_WAYS = 256
Sign = Literal["+", "-", "*", "/"]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`function(field)` over the window, of the events that also meet `match`.

    `offset`: of the window that ended so many seconds ago.
    """

    function: Function
    field: str = ""
    match: tuple[Matcher, ...] = ()
    number: float = 0.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Reckoned:
    """Two amounts added, subtracted, multiplied or divided."""

    sign: Sign
    left: "Amount"
    right: "Amount"


Measured = Aggregate | Reckoned
Amount = Measured | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`left` held against a number, a text, a list, or another amount, `right`.

    A list (`in`) is in `values` as text and, when all of it was written as numbers, in `numbers`.
    """

    left: Measured
    op: Comparator
    number: float | None = None
    values: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()
    right: Measured | None = None

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """All that it asks for, as written from left to right."""
        return tuple(chain.from_iterable(map(_terms, (self.left, self.right))))

    @property
    def alone(self) -> Aggregate | None:
        """The one aggregate of the window of now that it holds against what is written."""
        left = self.left
        plain = isinstance(left, Aggregate) and not left.offset and self.right is None
        return left if plain else None  # type: ignore[return-value] # plain says

    @property
    def function(self) -> Function | None:
        """That of the one aggregate."""
        return None if self.alone is None else self.alone.function

    @property
    def ratio(self) -> tuple[Aggregate, Aggregate] | None:
        """The two aggregates of the window of now, if one divided by the other is all there is."""
        left = self.left
        if self.right is not None or not isinstance(left, Reckoned) or left.sign != "/":
            return None
        above, below = left.left, left.right
        if isinstance(above, Aggregate) and isinstance(below, Aggregate):
            return None if above.offset or below.offset else (above, below)
        return None

    @property
    def state(self) -> Aggregate | None:
        """The state that it is about, if it is about one."""
        one = self.alone
        return one if one is not None and one.function.shows is Shows.STATE else None

    @property
    def pattern(self) -> Matcher | None:
        """The pattern that a state is held against, if it is one."""
        if self.state is None or self.op not in ("=~", "!~"):
            return None
        return Matcher(self.state.field, self.op, self.values[0])

    @property
    def named(self) -> tuple[str, ...]:
        """The texts that it names one by one."""
        return self.values if self.pattern is None else self.pattern.named_values()


def _terms(amount: Amount | None) -> Iterator[Aggregate]:
    if isinstance(amount, Aggregate):
        yield amount
    elif isinstance(amount, Reckoned):
        yield from _terms(amount.left)
        yield from _terms(amount.right)


def worked_out(amount: Amount, values: Iterator[float | None]) -> float | None:
    """Return what `amount` comes to; `values` are those of its aggregates in their order.

    None where one of them is of nothing, or the whole is no number.
    """
    if isinstance(amount, Aggregate):
        return next(values)
    if not isinstance(amount, Reckoned):
        return amount
    left, right = worked_out(amount.left, values), worked_out(amount.right, values)
    if amount.sign == "/":
        return divided(left, right)
    if left is None or right is None:
        return None
    found = reckon(amount.sign, left, right)
    return None if math.isnan(found) else found


def reckon(sign: Sign, left: float, right: float) -> float:
    """Return the sum, the difference or the product of two numbers."""
    if sign == "*":
        return left * right
    return left + right if sign == "+" else left - right


def divided(above: float | None, below: float | None) -> float | None:
    """Return the ratio; infinite where something is divided by nothing, None of nothing."""
    if above is None:
        return None
    if below:
        return None if math.isinf(above) and math.isinf(below) else above / below
    return math.copysign(math.inf, above) if above else None


@dataclass(frozen=True, slots=True)
class And:
    """Holds where all of its parts do."""

    parts: tuple["Part", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Holds where one of its parts does."""

    parts: tuple["Part", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Holds where its part does not."""

    part: "Part"


Part = Comparison | And | Or | Not


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold; `text` is what the user wrote."""

    whole: Part
    text: str

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Every comparison, as written from left to right."""
        return tuple(_leaves(self.whole))


def _leaves(part: Part) -> Iterator[Comparison]:
    match part:
        case Comparison():
            yield part
        case Not():
            yield from _leaves(part.part)
        case And() | Or():
            for one in part.parts:
                yield from _leaves(one)


def alternatives(part: Part, *, holds: bool = True) -> list[tuple[tuple[Comparison, bool], ...]]:
    """Return the ways in which `part` comes to `holds`: what each comparison must come to."""
    match part:
        case Comparison():
            return [((part, holds),)]
        case Not():
            return alternatives(part.part, holds=not holds)
        case And() | Or():
            ways = [alternatives(one, holds=holds) for one in part.parts]
            if isinstance(part, Or) is holds:
                return [way for some in ways for way in some]
            return [tuple(chain.from_iterable(some)) for some in islice(product(*ways), MAX_WAYS)]


def bounds(part: Comparison) -> tuple[float, ...]:
    """Return the numbers a comparison holds its aggregate against, ascending."""
    one = () if part.number is None else (part.number,)
    return tuple(sorted({*one, *part.numbers}))


def value_test(part: Comparison) -> Callable[[Any], bool]:
    """Return the test of a value that `part` stands for; of states, texts are compared as texts."""
    return _number_test(part) if part.state is None else _state_test(part)


def test_of(part: Comparison) -> Callable[[Any, float | None], bool]:
    """Return the test of what `left` and `right` come to, which None never passes."""
    if part.right is None:
        passes = value_test(part)
        return lambda value, _: value is not None and passes(value)
    test = _TEST[part.op]
    return lambda value, other: value is not None and other is not None and test(value, other)


def time_can_turn(part: Part, *, to: bool = True) -> bool:
    """Return whether the mere passing of time, without an event, can turn `part` true (or false).

    What `hold` drops is not looked at.
    """
    match part:
        case Comparison():
            if part.function is None:
                return True
            return part.op not in part.function.drift.value if to else part.state is None
        case Not():
            return time_can_turn(part.part, to=not to)
        case And() | Or():
            return any(time_can_turn(one, to=to) for one in part.parts)


def _number_test(part: Comparison) -> Callable[[float], bool]:
    if part.op == "in":
        return frozenset(part.numbers).__contains__
    test, bound = _TEST[part.op], part.number
    if bound is None:
        raise ValueError("a number needs one to compare with")
    return lambda value: test(value, bound)


def _state_test(part: Comparison) -> Callable[[Any], bool]:
    if part.number is not None or part.numbers:
        test = _number_test(part)
        return lambda value: (number := as_number(value)) is not None and test(number)
    if (pattern := part.pattern) is not None:
        return lambda value: pattern.matches(as_text(value))
    texts = frozenset(part.values)
    wanted = part.op != "!="
    return lambda value: (as_text(value) in texts) is wanted


def is_absence(condition: Condition) -> bool:
    """Return whether all that `condition` asks for is little: `count() < n` and the like."""
    return _asks_for_little(condition.whole, holds=True)


def ends_by_one(condition: Condition) -> bool:
    """Return whether an absence is over with one event, and is none again as long as it counts."""
    tests = [value_test(part) for part in condition.comparisons]
    return all(holds(0) and not holds(1) for holds in tests)


def _asks_for_little(part: Part, *, holds: bool) -> bool:
    match part:
        case Comparison():
            return part.alone is not None and _is_little(part, part.alone, holds=holds)
        case Not():
            return _asks_for_little(part.part, holds=not holds)
        case And() | Or():
            return all(_asks_for_little(one, holds=holds) for one in part.parts)


def _is_little(part: Comparison, one: Aggregate, *, holds: bool) -> bool:
    shows = one.function.shows
    if holds and part.op in ("<", "<="):
        return shows is not Shows.STATE
    # The opposite of "more" is "less" only where there is a number of nothing, too.
    opposite = not holds and part.op in (">", ">=")
    none = part.op == ("==" if holds else "!=") and part.number == 0
    return shows is Shows.HOW_MANY and (opposite or none)


# Instead of a field in an instant: the time of the event itself.
EVENT_TIME = "event_time"


class Instant(NamedTuple):
    """An instant that events name: in `field`, `offset` seconds and as many days as `days` later.

    `days` is a field as well, or empty.
    """

    field: str
    offset: float = 0.0
    days: str = ""

    @property
    def name(self) -> str:
        """What is taken from the event: all but the offset."""
        return f"{self.field} + {self.days} days" if self.days else self.field

    def base(self, event: Event) -> float | None:
        """Return the instant in `event`, without the offset; None where it names none."""
        at = event.at if self.field == EVENT_TIME else instant(event.get(self.field))
        days = event.number(self.days) if self.days else 0.0
        return None if at is None or days is None else at + days * _DAY

    def bad_field(self, event: Event) -> str:
        """Return the field that holds something else than an instant or days; empty: none does."""
        if self.field != EVENT_TIME and is_bad_instant(event.get(self.field)):
            return self.field
        days = event.get(self.days) if self.days else None
        return "" if is_missing(days) or as_number(days) is not None else self.days

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of events that it asks for."""
        return tuple(name for name in (self.field, self.days) if name and name != EVENT_TIME)


_DAY = 86_400.0
_INSTANT = re.compile(
    r"\s*([A-Za-z_][\w.]*)\s*(?:\+\s*([A-Za-z_][\w.]*)\s+days\s*)?(?:([+-])\s*(\w+))?\s*", re.ASCII
)


def parse_instant(text: str) -> Instant:
    """Read `field`, `field + 3d`, `field - 1h` or `field + other_field days + 1d`.

    Raises ValueError with a sentence that shows a right example.
    """
    found = _INSTANT.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is not an instant; write a field, for example current_period_end + 3d"
        )
    name, days, sign, offset = found.groups()
    seconds = parse_duration(offset) if offset else 0.0
    return Instant(name, -seconds if sign == "-" else seconds, days or "")
