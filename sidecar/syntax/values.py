"""What single values look like, to the reader and to an editor at once: durations, addresses, …

Each is a type for a field of a `Table`, such as `stale_after: Positive`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from typing import Annotated, Any
from urllib.parse import urlsplit

from sidecar.durations import _SHAPE as _DURATION, parse_duration
from sidecar.matchers import (
    _COMPARED,
    _SHAPE as _MATCHER,
    Matcher,
    compile_re2,
    parse_matchers,
    parse_test,
)
from sidecar.secret import Secret
from sidecar.syntax.faults import Reported, Wrong, did_you_mean
from sidecar.syntax.files import absolute
from sidecar.syntax.table import NO_SECRET, VARIABLE, Placed, Reading, Schema, SecretValue, Value
from sidecar.syntax.tree import ListNode, Node, ScalarKind, plain_of, text_of

# Prometheus' data model: a label's name, a metric's name.
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/@]*)):(\d{1,5})")
_MAX_PORT = 65535


def is_field(text: str) -> bool:
    return _FIELD.fullmatch(text) is not None


def split_host_port(text: str) -> tuple[str, int] | None:
    """Return host and port of `host:port`, `:port` or `[IPv6]:port`, or None if it is neither."""
    found = _HOST_PORT.fullmatch(text)
    if found is None or int(found[3]) > _MAX_PORT:
        return None
    return found[1] or found[2], int(found[3])


def parse_url(text: str) -> str:
    """Return `text` if it is an absolute http(s) URL. The ValueError never quotes it."""
    problem = ValueError("expected an http:// or https:// URL")
    if not text.isprintable() or " " in text:
        raise problem
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise problem from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise problem
    return text


_VAR = r"|\$\{"


def anchored(pattern: re.Pattern[str]) -> str:
    """Return a pattern of ours as ECMA has it: anchored, no named groups, no layout."""
    text = pattern.pattern
    if pattern.flags & re.VERBOSE:
        text = re.sub(r"\s+", "", text)
    return f"^(?:{re.sub(r'[?]P<[a-z]+>', '', text)})$"


def string(pattern: str = "", **more: Any) -> Schema:
    return {"type": "string", **({"pattern": pattern} if pattern else {}), **more}


def string_or_variable(pattern: str) -> Schema:
    return string(pattern + _VAR)


def or_variable(schema: Schema) -> Schema:
    return {"anyOf": [schema, VARIABLE]}


def _positive(text: str) -> float:
    seconds = parse_duration(text)
    if seconds == 0:
        raise Wrong("`{key}` must be more than 0")
    return seconds


def _flag(node: Node, _: Reading) -> bool:
    scalar = plain_of(node, "true or false")
    if scalar.text not in ("true", "false") or not (
        scalar.kind is ScalarKind.FLAG or scalar.expanded
    ):
        raise Wrong("expected true or false", "without quotes")
    return scalar.text == "true"


def number(text: str) -> float:
    value = float(text)
    if not float("-inf") < value < float("inf"):
        raise ValueError(f"{text!r} is not a finite number")
    return value


def _above_0(text: str) -> float:
    if (value := number(text)) <= 0:
        raise Wrong("`{key}` must be more than 0")
    return value


def whole(least: int = 0) -> Value:
    def parse(text: str) -> int:
        value = number(text)
        if not value.is_integer() or value < least:
            raise Wrong(f"`{{key}}` must be a whole number from {least} up")
        return int(value)

    return Value(
        parse, "a number", or_variable({"type": "integer", "minimum": least}), ScalarKind.NUMBER
    )


def choice(known: Iterable[str], make: Callable[[str], Any] = str) -> Value:
    words = [str(word) for word in known]
    either = " or ".join((", ".join(words[:-1]), words[-1]))

    def parse(text: str) -> Any:
        if text not in words:
            raise Wrong(f"`{{key}}` must be {either}", did_you_mean(text, words))
        return make(text)

    return Value(parse, either, or_variable({"enum": words}))


def shaped(pattern: re.Pattern[str], what: str, hint: str = "") -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise Wrong(f"`{text}` is not {what}", hint)
        return text

    return parse


def _named(text: str) -> str:
    if not text:
        raise Wrong("`{key}` is empty")
    return text


def _listen(text: str) -> tuple[str, int]:
    address = split_host_port(text)
    if address is None:
        raise ValueError(f"{text!r} is not host:port; write for example 127.0.0.1:9787")
    return address[0] or "0.0.0.0", address[1]  # noqa: S104 - beyond loopback only /metrics is open


def check_label(text: str, reserved: tuple[str, ...] = ()) -> str:
    if not _LABEL.fullmatch(text):
        raise Wrong(
            f"`{text}` is not a label name", "letters, digits and underscores, no digit first"
        )
    if text.startswith("__"):
        raise Wrong(f"label `{text}` is reserved", "names that begin with __ are internal")
    if text in reserved:
        raise Wrong(f"label `{text}` is reserved", "it is set by the sidecar")
    return text


def _group_label(text: str) -> str:
    return text if text == "..." else check_label(text)


def _absolute(node: Node, _: Reading) -> str:
    scalar = text_of(node)
    return absolute(scalar.place.file, scalar.text)


def _readable(node: Node, reading: Reading) -> str:
    scalar = text_of(node)
    if not scalar.text:
        return ""
    path = absolute(scalar.place.file, scalar.text)
    if reading.files.text(path, scalar.place) is None:
        raise Reported
    return path


DURATION: Schema = {
    "anyOf": [string(anchored(_DURATION) + "|^0$", minLength=1), {"const": 0}],
}
POSITIVE: Schema = {
    "type": "string",
    "allOf": [{"pattern": anchored(_DURATION)}, {"pattern": "[1-9]"}],
}
LABEL = {**string(anchored(_LABEL)), "not": {"pattern": "^__"}}
FIELD = string(anchored(_FIELD))
_FIELD_HINT = "a name, or names with dots between them"
_METRIC_HINT = "letters, digits, underscores and colons, no digit first"

shaped_field = shaped(_FIELD, "a field name", _FIELD_HINT)
Text = Annotated[str, Value(str, "text", string())]
Named = Annotated[str, Value(_named, "text", string(minLength=1))]
Flag = Annotated[bool, Placed(_flag, or_variable({"type": "boolean"}))]
MaybeFlag = Annotated[bool | None, Placed(_flag, or_variable({"type": "boolean"}), None)]
Duration = Annotated[
    float, Value(parse_duration, "a duration", or_variable(DURATION), ScalarKind.FLAG)
]
Positive = Annotated[float, Value(_positive, "a duration", or_variable(POSITIVE), ScalarKind.FLAG)]
Number = Annotated[float, Value(number, "a number", {"type": "number"}, ScalarKind.NUMBER)]
Above0 = Annotated[
    float,
    Value(
        _above_0,
        "a number",
        or_variable({"type": "number", "exclusiveMinimum": 0}),
        ScalarKind.NUMBER,
    ),
]
Count = Annotated[int, whole()]
Count1 = Annotated[int, whole(1)]
Cut = Annotated[int, whole(20)]  # a value cut shorter than its own marker helps nobody
Url = Annotated[str, Value(parse_url, "an http(s) URL", string(r"^https?://[^\s]+$" + _VAR))]
MaybeUrl = Annotated[
    str | None, Value(parse_url, "an http(s) URL", string(r"^https?://[^\s]+$" + _VAR))
]
_LISTEN = Value(_listen, "host:port", string(r":\d{1,5}$" + _VAR))
Listen = Annotated[tuple[str, int], _LISTEN]
MaybeListen = Annotated[tuple[str, int] | None, _LISTEN]
_RE2 = Value(lambda text: (compile_re2(text), text)[1], "an RE2 pattern", string())
Re2 = Annotated[str, _RE2]
MaybeRe2 = Annotated[str | None, _RE2]


def _label_matchers(node: Node, reading: Reading) -> tuple[Matcher, ...]:
    found: list[Matcher] = []
    for item in node.items if isinstance(node, ListNode) else [node]:
        with reading.reporting(item):
            found += parse_matchers(text_of(item).text)
    return tuple(found)


_ONE_OR_MORE = string(rf"{anchored(_MATCHER)}|^\s*\{{.*\}}\s*$" + _VAR)
# Of an alert's labels: a list, each entry a matcher or several in braces; or one such text.
LabelMatchers = Annotated[
    tuple[Matcher, ...],
    Placed(
        _label_matchers, {"anyOf": [{"type": "array", "items": _ONE_OR_MORE}, _ONE_OR_MORE]}, ()
    ),
]


def older_matchers(equal: Mapping[str, str], patterns: Mapping[str, str]) -> tuple[Matcher, ...]:
    """Return what Alertmanager before 0.22 wrote as `match` and `match_re`."""
    return (
        *(Matcher(name, "=", text) for name, text in equal.items()),
        *(Matcher(name, "=~", text) for name, text in patterns.items()),
    )


_TEST = {"anyOf": [string(anchored(_MATCHER) + _VAR), string(anchored(_COMPARED))]}
OneTest = Annotated[Matcher, Value(parse_test, "a test", _TEST)]
Field = Annotated[str, Value(shaped_field, "a field", string(anchored(_FIELD)))]
MaybeField = Annotated[str | None, Value(shaped_field, "a field", string(anchored(_FIELD)))]
MaybeText = Annotated[str | None, Value(str, "text", string())]
MaybeDuration = Annotated[
    float | None, Value(parse_duration, "a duration", or_variable(DURATION), ScalarKind.FLAG)
]
MaybePositive = Annotated[
    float | None, Value(_positive, "a duration", or_variable(POSITIVE), ScalarKind.FLAG)
]
Label = Annotated[str, Value(check_label, "a label", LABEL)]
MetricName = Annotated[
    str, Value(shaped(_METRIC, "a metric name", _METRIC_HINT), "a name", string(anchored(_METRIC)))
]
GroupLabel = Annotated[
    str, Value(_group_label, "a label", {"anyOf": [LABEL, {"const": "..."}, VARIABLE]})
]
AbsolutePath = Annotated[str, Placed(_absolute, string())]
ReadableFile = Annotated[str, Placed(_readable, string())]
SecretText = Annotated[Secret | None, SecretValue(string(minLength=1))]
SecretUrl = Annotated[Secret | None, SecretValue(string(r"^https?://[^\s]+$" + _VAR), parse_url)]


def parse_database(text: str) -> None:
    """Refuse what libpq takes for no address of a database, where its driver is there to ask.

    Raises Wrong, without a word of `text`: there may be a password in it.
    """
    if text == NO_SECRET.reveal() or find_spec("psycopg") is None:
        return
    from psycopg import ProgrammingError  # noqa: PLC0415 - an extra, and takes long to import
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - same

    try:
        conninfo_to_dict(text)
    except ProgrammingError:
        hint = "write for example postgresql://sidecar@db.example.com/billing"
        message = "`{key}` is no connection URI of libpq, nor its keywords and values"
        raise Wrong(message, hint) from None


DatabaseUrl = Annotated[Secret | None, SecretValue(string(minLength=1), parse_database)]


def check_database(table: Any, reading: Reading) -> None:
    """Report a database without address, or without the driver to reach it."""
    if table.url is None and not {"url", "url_file"} & reading.node(table).values.keys():
        reading.error(table, "", "`url` is missing", "write `url` or `url_file`")
    if find_spec("psycopg") is None:
        message = "the driver of PostgreSQL is not installed"
        reading.error(table, "", message, "pip install 'webhook-alert-sidecar[postgresql]'")


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NAME_HINT = "letters, digits, dots, dashes and underscores, 63 at most"
HostName = Annotated[
    str, Value(shaped(_NAME, "a host's name", _NAME_HINT), "text", string(anchored(_NAME)))
]


# The HTML standard's e-mail grammar, and RFC 5322's display name before it.
_LETTERS = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = rf"{_LETTERS}(?:\.{_LETTERS})*@{_HOST}(?:\.{_HOST})*"
MAILBOX = re.compile(rf'{_ADDRESS}|(?:"[^"\\\r\n]*"|[^"<>,@\r\n]+)\s*<{_ADDRESS}>')
_MAX_ADDRESS = 254  # RFC 5321, 4.5.3.1.3: 256 with its angle brackets


def split_mailboxes(text: str) -> tuple[str, ...]:
    """Split at the commas that stand outside of quotes."""
    parts = re.findall(r'(?:"[^"]*"|[^,"]|")+', text)
    return tuple(part.strip() for part in parts if part.strip())


def parse_mailbox(text: str) -> str:
    """Return `text` without blanks around if it is exactly one mailbox. Raises ValueError."""
    mailbox_parts(text)
    return text.strip()


def mailbox_parts(text: str) -> tuple[str, str]:
    """Return display name and address of exactly one mailbox, `a@b.c` or `Name <a@b.c>`.

    What is read here can be sent: the configuration and the mail's own headers and envelope ask
    the same. Raises ValueError.
    """
    stripped = text.strip()
    if MAILBOX.fullmatch(stripped):
        name, _, address = stripped.removesuffix(">").rpartition("<")
        if len(address) > _MAX_ADDRESS:
            raise ValueError(f"a mail address has at most {_MAX_ADDRESS} characters")
        return name.strip().strip('"'), address
    if len(split_mailboxes(stripped)) > 1:
        raise ValueError(f"{text!r} holds several mailboxes; exactly one can stand here")
    raise ValueError(f"{text!r} is not a mail address; write for example alerts@example.com")
