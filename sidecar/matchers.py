"""Matchers: Prometheus' tests on a name and its text, `severity="critical"`, `status=~"a|b"`.

Used on an event's fields (rules, metrics) and on an alert's labels (routes). A missing name is
the empty text. Regular expressions are RE2, anchored at both ends, and their dot matches a line
break too, as in Prometheus 3: a traceback is one text.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import re2

# Two fields of one event, or a field and a number: `amount > limit` is the name of what that is.
COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq,
}  # fmt: skip
_COMPARED = re.compile(
    r"\s*([A-Za-z_][A-Za-z0-9_.]*)\s*(>=|<=|==|>|<)\s*([A-Za-z_][A-Za-z0-9_.]*|-?\d+(?:\.\d+)?)\s*"
)
Operator = Literal["=", "!=", "=~", "!~"]
_SHAPE = re.compile(
    r"""\s*(?P<name>[A-Za-z_][A-Za-z0-9_.]*)\s*(?P<op>=~|!~|!=|=)\s*
        (?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s"',{}]+))\s*""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", '"': '"'}
# A comma outside of quotes: an even number of them is ahead.
_COMMA = re.compile(r',(?=(?:[^"\\]|\\.|"(?:[^"\\]|\\.)*")*$)')
# A pattern of this shape names each text it can match; it is how series get to exist at 0.
_ALTERNATION = re.compile(r"[\w:.\- ]+(?:\|[\w:.\- ]+)*")


@dataclass(frozen=True, slots=True)
class Matcher:
    """One test: `name`, an operator, and the text or RE2 pattern to hold it against."""

    name: str
    op: Operator
    value: str
    _regex: re2._Regexp | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if self.op in ("=~", "!~"):
            object.__setattr__(self, "_regex", compile_re2(self.value, dot_nl=True))

    def matches(self, text: str) -> bool:
        if self._regex is None:
            return (text == self.value) == (self.op == "=")
        return (self._regex.fullmatch(text) is not None) == (self.op == "=~")

    def named_values(self) -> tuple[str, ...]:
        """Return the texts this matcher names one by one, or nothing when it cannot say."""
        if self.op == "=":
            return (self.value,)
        # A dot is a wildcard to RE2, but in event types it is meant as the dot it looks like.
        if self.op == "=~" and _ALTERNATION.fullmatch(self.value):
            return tuple(self.value.split("|"))
        return ()

    def __str__(self) -> str:
        if " " in self.name:
            return self.name
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.op}"{escaped}"'


def compile_re2(pattern: str, *, dot_nl: bool = False) -> re2._Regexp:
    """Compile `pattern` as RE2 (linear time); with `dot_nl` the dot matches a line break.

    Raises ValueError with RE2's own reason.
    """
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = dot_nl
    try:
        return re2.compile(pattern, options)
    except re2.error as wrong:
        reason = wrong.args[0] if wrong.args else wrong
        text = reason.decode() if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"{pattern!r} is not an RE2 pattern: {text}") from wrong


def spans_in(regex: re2._Regexp, data: bytes, start: int = 0) -> Sequence[tuple[int, int]] | None:
    """Return where the first match from `start` on lies in `data`, and each of its groups.

    The span of a group that matched nothing begins at -1. The library's own match objects cost as
    much again, and of texts ten times as much.
    """
    spans = regex._regexp.Match(re2._Anchor.UNANCHORED, data, start, len(data))  # noqa: SLF001 - see above
    return None if spans[0][0] < 0 else spans


def parse_matcher(text: str) -> Matcher:
    """Read one matcher; raises ValueError with a sentence that shows a right example."""
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise ValueError(f'{text!r} is not a matcher; write for example severity="critical"')
    quoted = found["quoted"]
    value = found["bare"] if quoted is None else _unescape(quoted)
    return Matcher(found["name"], cast("Operator", found["op"]), value)


def parse_matchers(text: str) -> list[Matcher]:
    """Read one matcher, or several in braces with commas between, as Alertmanager has them.

    Raises ValueError as parse_matcher does.
    """
    inner = text.strip()
    if not (inner.startswith("{") and inner.endswith("}")):
        return [parse_matcher(text)]
    parts = _COMMA.split(inner[1:-1])
    return [parse_matcher(part) for part in parts if part.strip()]


def parse_test(text: str) -> Matcher:
    """Read a test of an event: a matcher, or fields compared as numbers, `amount > limit`.

    What is compared is a field of its own, `true` or `false`. Raises ValueError, as above.
    """
    found = _COMPARED.fullmatch(text)
    return parse_matcher(text) if found is None else Matcher(" ".join(found.groups()), "=", "true")


def all_match(matchers: Iterable[Matcher], text_of: Callable[[str], str]) -> bool:
    """Return whether every matcher holds, `text_of` giving the text behind a name."""
    return all(matcher.matches(text_of(matcher.name)) for matcher in matchers)


def _unescape(quoted: str) -> str:
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], "\\" + m[1]), quoted, flags=re.DOTALL)
