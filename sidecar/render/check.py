"""Templates before they are used: what can be said of one, and what it makes of a trial message.

The trial holds all that a message can hold. What templates are given of an event is whatever the
host logged: every field is there, and what is asked of it in turn. All else is what it is in a
message, so what is not there now never will be.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

from jinja2 import TemplateSyntaxError, meta, nodes as ast
from jinja2.exceptions import TemplateError, TemplateNotFound

from sidecar.notify.model import Ack, Notice, NoticeStatus, Notification, Reason
from sidecar.redact import Redactor
from sidecar.render.sandbox import METHODS, TemplateEnvironment
from sidecar.render.view import Origin, notification_view
from sidecar.rules.alert import Evidence
from sidecar.rules.rule import Rule, label_name
from sidecar.syntax.faults import Faults, Place, Wrong, did_you_mean
from sidecar.syntax.table import MapOf, Reading, Table, Value, declared
from sidecar.syntax.tree import MapNode, Scalar
from sidecar.syntax.values import string

# What an annotation's template may name (docs/rules.md).
ANNOTATION_NAMES = frozenset({"value", "labels", "event", "ended_by", "collected"})
_SANDBOX = TemplateEnvironment()
_MAY_LACK = {"d", "default", "defined", "undefined"}  # filters and tests of what may not be there
_GIVEN = ANNOTATION_NAMES | _SANDBOX.globals.keys()
# What stands in the braces of Go's templates, and in those of Jinja2 never.
_GO = re.compile(
    r"\{\{-?\s*\(*(?:[$.]|(?:range|with|template|define|block)\s|(?:if|else|end)\b|\w+\s+[$.])"
)
JINJA = "templates are Jinja2, not Go's: without `$` and leading dots, see docs/templates.md"


def check_template_file(path: str, reading: Reading) -> str | None:
    """Return the source of a template file; what is wrong with it is reported at its line."""
    source = reading.files.text(path)
    if source is not None and not source.strip():
        reading.faults.error(
            Place(path), "the file is empty", "write a template, or do not name it"
        )
    try:
        parse_template(source or "")
    except Wrong as wrong:
        reading.faults.error(Place(path, wrong.line or 1, wrong.column), str(wrong), wrong.hint)
    return source


def check_annotation(
    scalar: Scalar, labels: Iterable[str], collected: Iterable[str], faults: Faults
) -> None:
    """Report a template that is wrong, or names what an annotation is not given.

    `labels` are the labels the rule's alerts can have, `collected` what it collects; another name
    would fail each rendering.
    """
    if "{" not in scalar.text:  # nothing is filled in
        return
    try:
        asked = _asked(scalar.text)
    except Wrong as wrong:
        faults.error(scalar.at_line(wrong.line or 1, wrong.column), str(wrong), wrong.hint)
        return
    for name in sorted(asked.names - _GIVEN):
        place = scalar.at_line(*place_of(parse_template(scalar.text)[0], scalar.text, name))
        faults.error(place, *unknown(name, ANNOTATION_NAMES, _ANNOTATIONS_GET))
    known, kept = set(labels), set(collected)
    for table, line, name in asked.entries:
        if name in (known if table == "labels" else kept) or hasattr(dict, name):
            continue
        place = scalar.at_line(line, column(scalar.text, line, name))
        if table == "labels":
            otherwise = "labels of this rule: " + ", ".join(sorted(known))
            hint = did_you_mean(name, known, otherwise)
            faults.error(place, f"alerts of this rule have no label `{name}`", hint)
        else:
            hint = did_you_mean(name, kept, "name its field in `collect`")
            faults.error(place, f"this rule does not collect `{name}`", hint)


# Where a template's line and column stand in a file.
At = Callable[[int, int], Place]


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
            return _line_of(wrong), f"there is no template '{wrong.name}'"
        except TemplateError as wrong:
            message = wrong.message or type(wrong).__name__
            return _line_of(wrong), message.replace(_NO_ITEM, "there is no")
        except Exception as wrong:  # noqa: BLE001 - whatever a template does
            known = not any(field in source for field in _FIELDS)
            return (_line_of(wrong), f"{type(wrong).__name__}: {wrong}") if known else None
        return None

    def names(self) -> set[str]:
        """Return every name that a template can use, for hints."""
        (first, *_) = self.view["notices"]
        tables = (self.view, first, first["labels"], first["annotations"], first["collected"])
        return {name for table in tables for name in table}


def _is_method(obj: Any, attribute: str) -> bool:
    return attribute in METHODS[str if isinstance(obj, str) else dict]


def _line_of(wrong: Exception) -> int:
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


def check_message(source: str, at: At, trial: Trial, faults: Faults) -> None:
    """Report what a receiver's template names that no message has, and how it fails if filled."""
    try:
        tree, names = parse_template(source)
    except Wrong:
        return  # reported where it was read
    given = trial.view.keys() | trial.globals.keys()
    for name in sorted(names - given):
        line, where = place_of(tree, source, name)
        message, hint = unknown(name, given, _MESSAGES_GET)
        if name in trial.view["notices"][0]:
            hint = f"each alert has one: {{% for n in notices %}}{{{{ n.{name} }}}}{{% endfor %}}"
        faults.error(at(line, where), message, hint)
    if not names - given and (fault := trial.fault(source)):
        line, message = fault
        word = next(iter(re.findall(r"'(\w+)'", message)[::-1]), "")
        hint = _go_hint(source, line) or did_you_mean(word, trial.names(), _MESSAGES_GET)
        text = f"the template fails when it is filled: {message}"
        faults.error(at(line, column(source, line, word)), text, hint)


_MESSAGES_GET = "docs/templates.md lists what a message's templates are given"
_ANNOTATIONS_GET = "templates are given value, labels, event, ended_by, collected"


def unknown(name: str, known: Iterable[str], given: str) -> tuple[str, str]:
    """Return message and hint about a name that no template is given; `given` says which are."""
    hint = JINJA if name[0].isupper() or name == "end" else did_you_mean(name, known, given)
    return f"the template names `{name}`, which does not exist", hint


def place_of(tree: ast.Template, source: str, name: str) -> tuple[int, int]:
    """Return line and column of the first use of a name in a template."""
    line = min((n.lineno for n in tree.find_all(ast.Name) if n.name == name), default=1)
    return line, column(source, line, name)


def column(source: str, line: int, word: str) -> int:
    """Return in which column of a line of `source` a word stands, 1 if it does not."""
    found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", _line(source, line))
    return found.start() + 1 if found else 1


class _Asked(NamedTuple):
    """What a template asks for: names, and entries of `labels` and `collected`, with their lines.

    Entries for which a default stands in are left out.
    """

    names: frozenset[str]
    entries: list[tuple[str, int, str]]


@lru_cache(maxsize=1024)  # rules have texts in common, and a reload has most of those of before
def _asked(source: str) -> _Asked:
    """Raises Wrong with the line."""
    tree, names = parse_template(source)
    found = list(tree.find_all((ast.Getattr, ast.Filter, ast.Test)))
    tested = (one for one in found if isinstance(one, ast.Filter | ast.Test))
    spared = {id(one.node) for one in tested if one.name in _MAY_LACK}
    entries = [
        (one.node.name, one.lineno, one.attr)
        for one in found
        if isinstance(one, ast.Getattr)
        and isinstance(one.node, ast.Name)
        and one.node.name in ("labels", "collected")
        and id(one) not in spared
    ]
    return _Asked(frozenset(names), entries)


def parse_template(source: str) -> tuple[ast.Template, set[str]]:
    """Return a template's tree and the names it needs. Raises Wrong with the line."""
    try:
        tree = _SANDBOX.parse(source)
        # Jinja2 generates the code to find the names, and so meets unknown filters as well, which
        # parsing alone does not. Once is enough: it is a quarter of the time to read all rules.
        names = meta.TrackingCodeGenerator(_SANDBOX)
        names.optimizer = None  # it takes time by the square of the template's length
        names.visit(tree)
    except TemplateSyntaxError as wrong:
        line, at, hint = _where(source, wrong.lineno)
        raise Wrong(f"template: {wrong.message}", hint, line=line, column=at) from None
    except RecursionError:
        raise Wrong("template: nested too deeply", line=1) from None
    except ValueError as wrong:  # a number of more digits than Python reads
        raise Wrong(f"template: {wrong}", line=1) from None
    return tree, names.undeclared_identifiers


def _where(source: str, line: int) -> tuple[int, int, str]:
    """Return where a template is wrong that breaks in `line`, and a hint if it is one of Go's.

    Jinja2 knows no column: it is that of the last braces that open in the line.
    """
    text = _line(source, line)
    if found := _GO.search(text):
        return line, found.start() + 1, JINJA
    return line, max(text.rfind("{{"), text.rfind("{%"), 0) + 1, ""


def _go_hint(source: str, line: int) -> str:
    return JINJA if _GO.search(_line(source, line)) else ""


def _line(source: str, number: int) -> str:
    return dict(enumerate(source.splitlines(), start=1)).get(number, "")


def _template(text: str) -> str:
    parse_template(text)
    return text


_TEMPLATE = Value(_template, "text", string())
Template = Annotated[str | None, _TEMPLATE]


def templates_of(entry: Table, reading: Reading) -> Iterator[Scalar]:
    """Yield the templates that stand in a receiver's entry as written."""
    written = reading.node(entry).values
    for name, one in declared(type(entry)).items():
        value = written.get(name)
        if one.shape is _TEMPLATE and isinstance(value, Scalar):
            yield value
        elif isinstance(one.shape, MapOf) and one.shape.value is _TEMPLATE:
            values = value.values.values() if isinstance(value, MapNode) else ()
            yield from (one for one in values if isinstance(one, Scalar))


TemplateText = Annotated[str, _TEMPLATE]
