"""Test files, `*.test.yaml`: inputs with times, and what is expected when.

Their shape is promtool's, with log lines and events in place of series.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from os.path import normpath
from pathlib import Path
from typing import Annotated, Any, ClassVar

from sidecar.config.load import NOBODY, check_config, unrouted
from sidecar.config.rulefiles import read_pattern_files, read_rule_files
from sidecar.config.settings import Config, Globs, each_once, gathered
from sidecar.durations import parse_duration
from sidecar.notify.model import NoticeStatus, Reason
from sidecar.parse.instants import instant
from sidecar.parse.patterns import NEEDED
from sidecar.receivers import KINDS
from sidecar.rules.alert import AlertState
from sidecar.syntax.faults import ConfigError, Fault, Names, Place, did_you_mean
from sidecar.syntax.table import ListOf, Nested, Placed, Reading, Schema, Table, Value, key, table
from sidecar.syntax.tree import ListNode, MapNode, Node, ScalarKind, refused, text_of
from sidecar.syntax.values import Duration, Flag, MaybeText, Text, choice, number, string

# Where a test's clock starts when neither the test nor its inputs say when they are: 2026-01-01.
DEFAULT_START = 1_767_225_600.0
DEFAULT_INTERVAL = 60.0
_SILENT = (Reason.NOTHING_NEW, Reason.COOLDOWN, Reason.RESOLVED_NOT_SENT)
_STATES = (AlertState.FIRING, AlertState.PENDING)


@dataclass(frozen=True, slots=True)
class When:
    """An instant: `seconds` after the start of the test or, if `absolute`, since the epoch."""

    seconds: float
    absolute: bool = False

    def at(self, start: float) -> float:
        return self.seconds if self.absolute else start + self.seconds


def parse_when(text: str) -> When:
    """Return the time that `text` stands for. Raises ValueError."""
    try:
        return When(parse_duration(text))
    except ValueError:
        at = instant(text)
    if at is None:
        raise ValueError(
            f"{text!r} is not a time; write an offset from the start such as 5m, "
            "or for example 2026-11-02T08:00:00Z"
        )
    return When(at, absolute=True)


_WHEN = Value(
    parse_when,
    "a time",
    {"anyOf": [string(minLength=1), {"type": "number"}]},
    ScalarKind.FLAG,
    stand_in=When(0.0),
)
_When = Annotated[When, _WHEN]
_MaybeWhen = Annotated[When | None, _WHEN]


@table
class LineInput(Table):
    """A log line; `when` stands in where the line has no time of its own."""

    line: Text = key("The line.")
    when: _MaybeWhen = key("Its time, where it says none.", "at", default=None)


@dataclass(frozen=True, slots=True)
class EventInput:
    """An event by its fields; without `when` their `timestamp` says when."""

    fields: Mapping[str, Any]
    when: When | None = None


class _Event:
    """`at`, and any fields, which may be nested."""

    stand_in = None

    def read(self, node: Node, reading: Reading, base: object) -> EventInput | None:
        del base
        if not isinstance(node, MapNode):
            raise refused(node, "keys with values")
        whole = True
        for name in NEEDED:
            if name not in node.values:
                reading.faults.error(node.place, f"`{name}` is missing")
        for name in (*NEEDED, "webhook_provider"):
            with reading.reporting(node.values.get(name, node)):
                whole = (
                    not node.values.get(name) or bool(text_of(node.values[name]).text)
                ) and whole
        fields = {
            name: _plain(value, reading) for name, value in node.values.items() if name != "at"
        }
        when = None
        if "at" in node.values:
            with reading.reporting(node.values["at"]):
                when = _WHEN.read(node.values["at"], reading, None)
        return EventInput(fields, when) if whole else None

    def schema(self, defs: Schema) -> Schema:
        texts = {name: string(minLength=1) for name in (*NEEDED, "webhook_provider")}
        return {
            "description": "`at`, and any fields; event_type and status are needed.",
            "type": "object",
            "properties": {"at": _WHEN.schema(defs), **texts},
            "required": [*NEEDED],
        }


def _plain(node: Node, reading: Reading) -> Any:
    """Return what a field holds, as the host would have logged it."""
    if isinstance(node, ListNode):
        return [_plain(item, reading) for item in node.items]
    if isinstance(node, MapNode):
        return {name: _plain(value, reading) for name, value in node.values.items()}
    if node.kind is ScalarKind.NUMBER:
        with reading.reporting(node):
            value = number(node.text)
            return value if "." in node.text else int(node.text)  # of any size, as in a log
    return {ScalarKind.TEXT: node.text, ScalarKind.FLAG: node.text == "true"}.get(node.kind)


@table
class ExpectedAlert(Table):
    """Labels are compared whole (alertname aside), annotations as far as they are written."""

    labels: Mapping[str, Text] = key("All labels but alertname.", "exp_labels")
    annotations: Mapping[str, Text] = key(
        "Annotations that it must have.", "exp_annotations", default={}
    )
    state: Annotated[AlertState, choice(_STATES, AlertState)] = key(
        "Its state.", "exp_state", default=AlertState.FIRING
    )


@table
class AlertTest(Table):
    """Which alerts of one name are open at `when`. `place` is `file:line:column`."""

    place: str = ""
    when: _When = key("When.", "eval_time")
    alertname: Text = key("Of which rule.")
    expected: tuple[ExpectedAlert, ...] = key("All its alerts at that time.", "exp_alerts")


@table
class ExpectedNotice(Table):
    """One alert in a message: the labels that are written, and its status."""

    labels: Mapping[str, Text] = key("Labels it must have.")
    status: Annotated[NoticeStatus | None, choice(NoticeStatus, NoticeStatus)] = key(
        "What the message says of it.", default=None
    )


@table
class _Equals(Table):
    hints: ClassVar[dict[str, str]] = {
        "contains": "write the text, or a list of texts, without `contains`"
    }

    equals: Text = key("All of the text.")


class _Texts:
    """A text or several that it must contain, or `equals: …`, all of it."""

    stand_in: tuple[str, ...] = ()
    _texts = ListOf(Value(str, "text", string()))
    _whole = Nested(
        lambda: _Equals, lambda made: made.equals.strip("\n"), bare=lambda text: (text,)
    )

    def read(self, node: Node, reading: Reading, base: object) -> Any:
        return (self._texts if isinstance(node, ListNode) else self._whole).read(
            node, reading, base
        )

    def schema(self, defs: Schema) -> Schema:
        return {"anyOf": [self._texts.schema(defs), *self._whole.schema(defs)["anyOf"]]}


@table
class ExpectedMessage(Table):
    """One message, in what is written of it; None and empty are not compared.

    `texts`: kind of receiver -> all of its text, or what it must contain.
    """

    reason: Annotated[
        Reason | None, choice([one for one in Reason if one not in _SILENT], Reason)
    ] = key("Why it was sent.", default=None)
    late: Annotated[bool | None, *Flag.__metadata__] = key(
        "Whether it is marked as late.", default=None
    )
    alerts: Annotated[tuple[ExpectedNotice, ...] | None, ListOf(Nested(lambda: ExpectedNotice))] = (
        key("The alerts it tells of.", default=None)
    )
    mail_subject: MaybeText = key("The mail's subject.", default=None)
    texts: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)


_EXPECTED = gathered(
    ExpectedMessage,
    "texts",
    {
        kind.name: (
            f"{kind.name}_text",
            Annotated[Any, _Texts()],
            key(f"What the {kind.name} text contains, or `equals`: all of it.", default=()),
        )
        for kind in KINDS
    },
)


@table
class NotificationTest(Table):
    """What `receiver` was told up to `when` and after the notification test before, in order."""

    place: str = ""
    when: _When = key("Up to when.", "eval_time")
    receiver: Text = key("Who.")
    expected: Annotated[tuple[ExpectedMessage, ...], ListOf(Nested(lambda: _EXPECTED))] = key(
        "All messages since the last test of the receiver.", "exp_notifications"
    )


@table
class Case(Table):
    """One entry of `tests`. Inputs without any time come `interval` seconds after each other."""

    hints: ClassVar[dict[str, str]] = {
        "input_series": "write `input_lines` or `input_events`",
        "promql_expr_test": "there is no PromQL here; write `alert_rule_test`",
    }
    schema: ClassVar[Schema] = {
        "anyOf": [{"required": ["alert_rule_test"]}, {"required": ["notification_test"]}]
    }

    place: str = ""
    name: Text = key("What the case shows.")
    starts: _MaybeWhen = key(
        "The absolute time that offsets count from; default: the first line.", "start", default=None
    )
    interval: Duration = key("Between inputs that say no time.", default=DEFAULT_INTERVAL)
    lines: Annotated[
        tuple[LineInput, ...],
        ListOf(Nested(lambda: LineInput, bare=lambda text: LineInput(line=text))),
    ] = key("Lines as the host prints them.", "input_lines", default=())
    events: Annotated[tuple[EventInput | None, ...], ListOf(_Event())] = key(
        "Events as fields.", "input_events", default=()
    )
    alert_tests: tuple[AlertTest, ...] = key(
        "Which alerts are there at a time.", "alert_rule_test", default=()
    )
    notification_tests: tuple[NotificationTest, ...] = key(
        "What a receiver is told up to a time.", "notification_test", default=()
    )

    @property
    def start(self) -> float | None:
        return None if self.starts is None else self.starts.seconds

    @property
    def inputs(self) -> tuple[LineInput | EventInput, ...]:
        return (*self.lines, *filter(None, self.events))

    def check(self, reading: Reading) -> "Case":
        written = reading.node(self).values
        if self.starts is not None and not self.starts.absolute:
            hint = "write for example 2026-11-02T08:00:00Z; other times may be offsets from it"
            reading.error(self, "start", "`start` is an absolute time", hint)
        if "alert_rule_test" not in written and "notification_test" not in written:
            hint = "write `alert_rule_test` or `notification_test`"
            reading.error(self, "", "the test expects nothing", hint)
        return self


@dataclass(frozen=True, slots=True)
class Suite:
    """One test file: its cases, and the configuration that they are about."""

    path: str
    config: Config
    cases: tuple[Case, ...]


def _beside(node: Node, _: Reading) -> str:
    # As it is written, so that faults name the file the way the test file does.
    return normpath(Path(node.place.file).parent / text_of(node).text)


@table
class CaseFile(Table):
    """Run by `sidecar test`; docs/testing.md."""

    hints: ClassVar[dict[str, str]] = {
        "evaluation_interval": "rules are judged at each event and deadline; remove it",
        "group_eval_order": "the order of groups does not matter; remove it",
    }
    schema: ClassVar[Schema] = {
        "allOf": [{"anyOf": [{"required": ["config"]}, {"required": ["rule_files"]}]}]
    }

    rule_files: Globs = key("Globs of the rule files that are tested.", default=())
    pattern_files: Globs = key("Globs of the pattern files that read the lines.", default=())
    environment: Mapping[str, Text] = key("Variables that `config` takes.", default={})
    config: Annotated[str | None, Placed(_beside, string())] = key(
        "A sidecar.yaml whose routes and receivers are tested as well.", default=None
    )
    tests: tuple[Case, ...] = key("The cases.", schema={"minItems": 1})

    def check(self, reading: Reading) -> "CaseFile":
        written = reading.node(self).values
        if "config" not in written and "rule_files" not in written:
            reading.error(self, "", "`rule_files` is missing")
        tests = written.get("tests")
        if isinstance(tests, ListNode) and not tests.items:
            reading.error(self, "tests", "`tests` is empty")
        return self


def load_tests(path: str) -> Suite:
    """Return the tests in `path`. Raises ConfigError with every fault of every file it names."""
    reading = Reading()
    file = reading.read(CaseFile, path)
    suite = None if file is None else _suite(file, path, reading)
    if suite is None or reading.faults.errors:
        raise ConfigError(reading.faults.errors)
    return suite


def _suite(file: CaseFile, path: str, reading: Reading) -> Suite:
    config = _config(file, path, reading)
    alerts = {rule.name for rule in config.rules}
    receivers = config.receivers.keys() - {NOBODY}
    names = Names("test", reading.faults)
    for case in file.tests:
        names.claim(case.name, reading.place(case, "name"))
        if "notification_test" in reading.node(case).values and not receivers:
            message = "`notification_test` needs receivers and routes"
            hint = "name a sidecar.yaml with `config`"
            reading.error_at_key(case, "notification_test", message, hint)
        for one in case.alert_tests:
            _check_name(one, "alertname", "rule", alerts, reading)
        for other in case.notification_tests:
            _check_name(other, "receiver", "receiver", receivers, reading)
    return Suite(path, config, tuple(_placed(case, reading) for case in file.tests))


def _placed(case: Case, reading: Reading) -> Case:
    def at(made: object) -> str:
        place = reading.place(made)
        return f"{place.file}:{place.line}:{place.column}"

    return replace(
        case,
        place=at(case),
        alert_tests=tuple(replace(one, place=at(one)) for one in case.alert_tests),
        notification_tests=tuple(replace(one, place=at(one)) for one in case.notification_tests),
    )


def _check_name(
    made: object, name: str, kind: str, known: Collection[str], reading: Reading
) -> None:
    text = getattr(made, name)
    # Where there is none at all, that is the fault, and it is reported elsewhere.
    if text and known and text not in known:
        hint = did_you_mean(text, known, f"known: {', '.join(sorted(known))}")
        reading.error(made, name, f"there is no {kind} `{text}`", hint)


def _config(file: CaseFile, path: str, reading: Reading) -> Config:
    """Return what the tests are about: the configuration named, its files replaced by ours."""
    rules, metrics = read_rule_files(each_once(file.rule_files), reading)
    patterns = read_pattern_files(each_once(file.pattern_files), reading)
    base = (_named_config(file, reading) if file.config else None) or unrouted(path=path)
    written = reading.node(file).values
    if "rule_files" in written:
        base = replace(base, rules=rules, metrics=metrics)
    return replace(base, patterns=patterns) if "pattern_files" in written else base


def _named_config(file: CaseFile, reading: Reading) -> Config | None:
    """Read the file that `config` names, its variables taken from `environment` alone."""
    checked = check_config(file.config or "", file.environment)
    for fault in checked.errors:
        place = Place(fault.file, fault.line, fault.column)
        reading.faults.error(place, fault.message, _hint(fault))
    return checked.config


def _hint(fault: Fault) -> str:
    """Say where variables are set for a test, which is not in the shell."""
    if "environment variable" not in fault.message:
        return fault.hint
    return "set it under `environment` of the test file, or give it a default"
