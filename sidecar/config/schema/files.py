"""The schemas of pattern files and of test files."""

from sidecar.config.schema.shapes import (
    Schema,
    choice,
    document,
    flag,
    listing,
    ref,
    table,
    text,
    texts_by_name,
)
from sidecar.notify.model import NoticeStatus
from sidecar.rules.alert import AlertState

_NEEDED = ("event_type", "status")


def patterns_schema() -> Schema:
    """Return the schema of `*.patterns.yaml`."""
    pattern = table(
        {
            "name": text("The pattern's name, unique across all files."),
            "regex": text(
                "RE2, searched in each line that is no WEBHOOK_METRIC record; named groups become "
                "fields."
            ),
            "fields": texts_by_name("Fixed fields; a named group wins over one.", names="field"),
        },
        required=["name", "regex"],
        allOf=[_gives(name) for name in _NEEDED],
    )
    whole = table(
        {"patterns": listing(pattern, "Tried in order; the first that matches makes the event.")},
        required=["patterns"],
    )
    return document("Patterns of the sidecar", whole)


def _gives(name: str) -> Schema:
    """Say that `name` is a fixed field or a named group."""
    fixed = {"required": ["fields"], "properties": {"fields": {"required": [name]}}}
    return {"anyOf": [fixed, {"properties": {"regex": {"pattern": rf"\(\?P<{name}>"}}}]}


def tests_schema() -> Schema:
    """Return the schema of `*.test.yaml`."""
    keys = {
        "rule_files": listing(text(), "Globs of the rule files that are tested."),
        "pattern_files": listing(text(), "Globs of the pattern files that read the lines."),
        "config": text("A sidecar.yaml whose routes and receivers are tested as well."),
        "environment": texts_by_name("Variables that `config` takes.", names="environment"),
        "tests": listing(_case(), "The cases.", least=1),
    }
    needs = {"anyOf": [{"required": ["config"]}, {"required": ["rule_files"]}]}
    return document(
        "Rule tests of the sidecar",
        table(keys, "Run by `sidecar test`; docs/testing.md.", required=["tests"], allOf=[needs]),
    )


def _case() -> Schema:
    keys = {
        "name": text("What the case shows."),
        "start": ref("when", "The absolute time that offsets count from; default: the first line."),
        "interval": ref("duration", "Between inputs that say no time."),
        "input_lines": listing({"anyOf": [text(), _line()]}, "Lines as the host prints them."),
        "input_events": listing(_event(), "Events as fields."),
        "alert_rule_test": listing(_alert_test(), "Which alerts are there at a time."),
        "notification_test": listing(_notification_test(), "What a receiver is told up to a time."),
    }
    asks = [{"required": ["alert_rule_test"]}, {"required": ["notification_test"]}]
    return table(keys, required=["name"], anyOf=asks)


def _line() -> Schema:
    return table({"at": ref("when"), "line": text("The line.")}, required=["line"])


def _event() -> Schema:
    return {
        "description": "`at`, and any fields; event_type and status are needed.",
        "type": "object",
        "properties": {
            "at": ref("when"),
            **{name: text(minLength=1) for name in _NEEDED},
            "webhook_provider": text(minLength=1),
        },
        "required": [*_NEEDED],
    }


def _alert_test() -> Schema:
    expected = table(
        {
            "exp_labels": ref("labels", "All labels but alertname."),
            "exp_annotations": ref("labels", "Annotations that it must have."),
            "exp_state": choice((AlertState.FIRING, AlertState.PENDING), "Its state.", "firing"),
        },
        required=["exp_labels"],
    )
    keys = {
        "eval_time": ref("when", "When."),
        "alertname": text("Of which rule."),
        "exp_alerts": listing(expected, "All its alerts at that time."),
    }
    return table(keys, required=["eval_time", "alertname", "exp_alerts"])


def _notification_test() -> Schema:
    notice = table(
        {
            "labels": ref("labels", "Labels it must have."),
            "status": choice(NoticeStatus, "What the message says of it."),
        },
        required=["labels"],
    )
    whole = table({"equals": text("All of the text.")}, required=["equals"])
    message = table(
        {
            "reason": text("Why it was sent."),
            "late": flag("Whether it is marked as late."),
            "alerts": listing(notice, "The alerts it tells of."),
            "slack_text": {
                "description": "What the Slack text contains, or `equals`: all of it.",
                "anyOf": [text(), listing(text()), whole],
            },
            "mail_subject": text("The mail's subject."),
        }
    )
    keys = {
        "eval_time": ref("when", "Up to when."),
        "receiver": text("Who."),
        "exp_notifications": listing(message, "All messages since the last test of the receiver."),
    }
    return table(keys, required=["eval_time", "receiver", "exp_notifications"])
