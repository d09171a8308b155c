"""Templates before they are used: what can be said of one without rendering it."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated

from jinja2 import TemplateSyntaxError, meta, nodes as ast

from sidecar.render.sandbox import TemplateEnvironment
from sidecar.render.trial import Trial
from sidecar.syntax.faults import Faults, Place, Wrong, did_you_mean
from sidecar.syntax.table import MapOf, Reading, Table, Value, declared
from sidecar.syntax.tree import MapNode, Scalar
from sidecar.syntax.values import string

# What an annotation's template may name (docs/rules.md).
ANNOTATION_NAMES = frozenset({"value", "labels", "event", "ended_by", "collected"})
_SANDBOX = TemplateEnvironment()
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
    try:
        tree, names = parse_template(scalar.text)
    except Wrong as wrong:
        faults.error(scalar.at_line(wrong.line or 1, wrong.column), str(wrong), wrong.hint)
        return
    for name in sorted(names - _GIVEN):
        place = scalar.at_line(*place_of(tree, scalar.text, name))
        faults.error(place, *unknown(name, ANNOTATION_NAMES, _ANNOTATIONS_GET))
    known = set(labels)
    for line, name in _named(tree, "labels"):
        if name not in known and not hasattr(dict, name):
            otherwise = "labels of this rule: " + ", ".join(sorted(known))
            hint = did_you_mean(name, known, otherwise)
            place = scalar.at_line(line, column(scalar.text, line, name))
            faults.error(place, f"alerts of this rule have no label `{name}`", hint)
    kept = set(collected)
    for line, name in _named(tree, "collected"):
        if name not in kept and not hasattr(dict, name):
            hint = did_you_mean(name, kept, "name its field in `collect`")
            place = scalar.at_line(line, column(scalar.text, line, name))
            faults.error(place, f"this rule does not collect `{name}`", hint)


# Where a template's line and column stand in a file.
At = Callable[[int, int], Place]


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


def _named(tree: ast.Template, of: str) -> list[tuple[int, str]]:
    return [
        (node.lineno, node.attr)
        for node in tree.find_all(ast.Getattr)
        if isinstance(node.node, ast.Name) and node.node.name == of
    ]


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
