"""The schema of rule files: metrics, and groups of alerting rules."""

from sidecar.config.metrics import TAKEN_ENDINGS
from sidecar.config.schema.shapes import (
    Schema,
    choice,
    document,
    listing,
    ref,
    table,
    text,
    texts_by_name,
    whole,
)
from sidecar.measure.metric import EVENTS_TOTAL, Metric, MetricType
from sidecar.rules.rule import Function

_FUNCTIONS = "|".join(Function)
_BY_SET = {"alertname"}  # labels that the sidecar sets itself


def rules_schema() -> Schema:
    """Return the schema of `*.rules.yaml`."""
    return document(
        "Rules of the sidecar",
        table(
            {
                "metrics": listing(
                    _metric(), "Series made from events, beside webhook_events_total."
                ),
                "groups": listing(_group(), "Alerting rules, in groups that share labels."),
            },
            "Alerting rules and metrics; docs/rules.md explains the language.",
        ),
    )


def _group() -> Schema:
    keys = {
        "name": text("The group's name, once per file."),
        "labels": _labels("Added to every rule of the group."),
        "rules": listing(_rule(), "The rules."),
    }
    return table(keys, required=["name", "rules"])


def _rule() -> Schema:
    keys = {
        "alert": text("The alert's name, unique across all files.", pattern=r"^[^\r\n]+$"),
        "match": _matchers("Tests that an event must pass, all of them. Empty: every event."),
        "by": listing(
            {"allOf": [ref("field"), {"not": {"pattern": r"^(__|alertname$)"}}]},
            "Fields that tell one alert of this rule from another; each becomes a label, its dots "
            "underscores. A missing field is the empty label.",
            uniqueItems=True,
        ),
        "condition": text(
            "When it fires: count(), sum(f), min(f), max(f), avg(f), distinct(f) over `within`, or "
            "last(f); compared by > >= < <= == != or in [a, b]; divided; joined by `and`.",
            pattern=rf"^\s*({_FUNCTIONS})\s*\(.*\)\s*(>=|<=|==|!=|>|<|in\s*\[)",
        ),
        "within": ref("positive_duration", "The window, in event time. Not for last()."),
        "for": ref("duration", "How long the condition must hold before the alert fires."),
        "keep_firing_for": ref("duration", "How long it must be false before the alert ends."),
        "hold": ref("positive_duration", "For last(): a state unconfirmed for so long is dropped."),
        "resolve": table(
            {"match": _matchers("Tests of the event that ends the alert.", least=1)},
            "Events that end the alert and forget what led to it.",
            required=["match"],
        ),
        "dedup_by": ref("field", "Events with a value of this field seen before are ignored."),
        "labels": _labels("Labels of the alert, to route by; `severity` chooses the tier."),
        "annotations": _annotations(),
        "escalate": listing(_step(), "Steps that raise the alert while it fires."),
    }
    return table(keys, required=["alert", "condition"], allOf=[_windows(), _holds()])


def _windows() -> Schema:
    """Say that everything but `last()` needs `within`, and `last()` alone takes none."""
    windowed = "|".join(function for function in Function if function is not Function.LAST)
    asks = {"condition": {"type": "string", "pattern": rf"\b({windowed})\s*\("}}
    return {
        "if": {"required": ["condition"], "properties": asks},
        "then": {"required": ["within"]},
        "else": {"not": {"required": ["within", "condition"]}},
    }


def _holds() -> Schema:
    asks = {"condition": {"type": "string", "pattern": r"\blast\s*\("}}
    return {"if": {"required": ["hold", "condition"]}, "then": {"properties": asks}}


def _step() -> Schema:
    keys = {
        "at": text(
            "An absolute instant taken from the event: field, field + 3d or field - 1h.",
            pattern=r"^\s*[A-Za-z_][A-Za-z0-9_.]*\s*([+-]\s*\w+)?\s*$",
        ),
        "after": ref("duration", "From firing; used where no event carried the field of `at`."),
        "labels": _labels("Laid over the rule's labels."),
        "annotations": _annotations(),
    }
    when = {"anyOf": [{"required": ["at"]}, {"required": ["after"]}]}
    what = {"anyOf": [{"required": ["labels"]}, {"required": ["annotations"]}]}
    return table(keys, allOf=[when, what])


def _matchers(description: str, *, least: int = 0) -> Schema:
    return listing(ref("matcher"), description, least=least)


def _labels(description: str) -> Schema:
    schema = texts_by_name(
        f"{description} Plain text, never a template.",
        values={"type": "string", "not": {"pattern": r"\{\{|\{%"}},
    )
    schema["propertyNames"] = {"allOf": [ref("label"), {"not": {"enum": sorted(_BY_SET)}}]}
    return schema


def _annotations() -> Schema:
    description = (
        "Jinja2 templates over value, labels and event; summary, description and runbook_url are "
        "shown in messages."
    )
    return texts_by_name(description, values=ref("template"))


def _metric() -> Schema:
    keys = {
        "name": ref("metric_name", "A counter's ends in _total."),
        "help": text("One sentence for /metrics."),
        "type": choice(MetricType, "What kind of metric.", MetricType.COUNTER),
        "match": _matchers("Tests that an event must pass, all of them."),
        "labels": texts_by_name("Label: the field behind it.", values=ref("field")),
        "value": ref("field", "The field a counter adds up, a gauge shows, a histogram observes."),
        "buckets": listing({"type": "number"}, "A histogram's bounds, rising.", least=1),
        "limit": whole(
            "Label sets at most; what comes beyond counts under __other__.",
            least=1,
            default=Metric(name="", help="").limit,
        ),
        "states_of": text("An alert with last(): the gauge counts its keys by state."),
        "label": ref("label", "The label of the state, with `states_of` only; default: state."),
    }
    return table(keys, required=["name", "help"], allOf=[_metric_names(), _metric_kinds()])


def _metric_names() -> Schema:
    """Say which endings a name must have, and which are taken."""
    taken = "|".join(ending.removeprefix("_") for ending in TAKEN_ENDINGS)
    counter = {"properties": {"type": {"const": MetricType.COUNTER.value}}}
    return {
        "properties": {"name": {"not": {"pattern": rf"^(sidecar_|{EVENTS_TOTAL}$)"}}},
        "if": counter,
        "then": {"properties": {"name": {"pattern": "_total$"}}},
        "else": {"properties": {"name": {"not": {"pattern": f"_({taken})$"}}}},
    }


def _metric_kinds() -> Schema:
    """Say which keys go with which type."""
    gauge, histogram = MetricType.GAUGE.value, MetricType.HISTOGRAM.value
    typed = {"required": ["type"]}
    return {
        "if": {"required": ["states_of"]},
        "then": {
            **typed,
            "properties": {
                "type": {"const": gauge},
                **dict.fromkeys(("match", "labels", "value", "buckets"), False),
            },
        },
        "else": {
            "properties": {"label": False},
            "if": {**typed, "properties": {"type": {"const": histogram}}},
            "then": {
                "required": ["value", "buckets"],
                "properties": {"labels": {"properties": {"le": False}}},
            },
            "else": {
                "properties": {"buckets": False},
                "if": {**typed, "properties": {"type": {"const": gauge}}},
                "then": {"required": ["value"]},
            },
        },
    }
