"""A message that holds all that one can hold, to try the templates of receivers with.

What templates are given of an event is whatever the host logged: every field is there, and what is
asked of it in turn. All else is what it is in a message, so what is not there now never will be.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from jinja2.exceptions import TemplateError, TemplateNotFound

from sidecar.notify.model import Ack, Notice, NoticeStatus, Notification, Reason
from sidecar.redact import Redactor
from sidecar.render.sandbox import METHODS, TemplateEnvironment
from sidecar.render.view import Origin, notification_view
from sidecar.rules.alert import Evidence
from sidecar.rules.rule import Rule, label_name

AT = 1_793_606_400.0  # any instant
_FIELDS = ("event", "ended_by", "value")  # of which only the host knows what they are
_NO_ITEM = "'dict object' has no attribute"


class _Field(str):
    """The value of a field of which nothing is known; whatever is asked of it is one as well."""

    __slots__ = ()


class _Fields(dict[str, Any]):
    """The fields of an event, of which each is there."""


class Trial(TemplateEnvironment):
    """Fills templates with stand-ins for a message about alerts of `rules`, if these are known."""

    def __init__(
        self, templates: Mapping[str, str], rules: Iterable[Rule] | None, origin: Origin
    ) -> None:
        super().__init__(templates)
        self.view = _view(list(rules or ()), origin)
        for notice in self.view["notices"] if rules is None else ():
            notice |= {key: _Fields(notice[key]) for key in ("labels", "annotations", "collected")}

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, _Field | _Fields) and not _is_method(obj, attribute):
            return _Field("1")
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, _Field | _Fields) and isinstance(argument, str):
            return _Field("1")
        return super().getitem(obj, argument)

    def fault(self, source: str) -> tuple[int, str] | None:
        """Return in which line a template fails, and how; None when it does not.

        What fails of what the host alone knows is no fault: it may be a number in its log.
        """
        try:
            self.fill(self.inline(source), self.view)
        except TemplateNotFound as wrong:
            return _line(wrong), f"there is no template '{wrong.name}'"
        except TemplateError as wrong:
            message = wrong.message or type(wrong).__name__
            return _line(wrong), message.replace(_NO_ITEM, "there is no")
        except Exception as wrong:  # noqa: BLE001 - whatever a template does
            known = not any(field in source for field in _FIELDS)
            return (_line(wrong), f"{type(wrong).__name__}: {wrong}") if known else None
        return None

    def names(self) -> set[str]:
        """Return every name that a template can use, for hints."""
        (first, *_) = self.view["notices"]
        tables = (self.view, first, first["labels"], first["annotations"], first["collected"])
        return {name for table in tables for name in table}


def _is_method(obj: Any, attribute: str) -> bool:
    return attribute in METHODS[str if isinstance(obj, str) else dict]


def _line(wrong: Exception) -> int:
    """Return the line of the template in which an exception was raised."""
    trace = wrong.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            return trace.tb_lineno
        trace = trace.tb_next
    return 1


def _view(rules: list[Rule], origin: Origin) -> dict[str, Any]:
    """Return the view of a message with an alert of each status."""
    labels = {"alertname": "Alert", "severity": "warning"}
    labels |= {name: name for rule in rules for name in _labels(rule)}
    annotations = {name: name for rule in rules for name in _annotations(rule)}
    collected = {label_name(name): ["1"] for rule in rules for name in rule.collect}
    notices = [
        Notice(
            status=status,
            labels=labels,
            annotations={"summary": "", "description": "", "runbook_url": "", **annotations},
            value=1.0,
            since=AT,
            ended_at=None if status in ("firing", "escalated") else AT,
            event={},
            episode=1,
            collected=collected,
            evidence=Evidence("app.log", 0, "line"),
            seen_at=AT,
            acked=Ack("ann", AT, "on it") if status is NoticeStatus.FIRING else None,
        )
        for status in NoticeStatus
    ]
    told = Notification(
        id="trial", receiver="team", integration="", index=0, destination="", at=AT,
        reason=Reason.FIRST, group="", group_labels=labels, notices=notices,
    )  # fmt: skip
    view = notification_view(told, Redactor(), lambda _, text, __: text, origin)
    for notice in view["notices"]:
        notice |= {"event": _Fields(a="1"), "ended_by": _Fields(a="1"), "value": _Field("1")}
    return view


def _labels(rule: Rule) -> Iterable[str]:
    return (*map(label_name, rule.by), *rule.labels, *(n for s in rule.escalate for n in s.labels))


def _annotations(rule: Rule) -> Iterable[str]:
    return (*rule.annotations, *(name for step in rule.escalate for name in step.annotations))
