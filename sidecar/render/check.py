"""Templates before they are used: what can be said of one without rendering it."""

from collections.abc import Iterable
from typing import Annotated

from jinja2 import TemplateSyntaxError, meta, nodes as ast

from sidecar.render.sandbox import TemplateEnvironment
from sidecar.syntax.faults import Faults, Place, Wrong, did_you_mean
from sidecar.syntax.table import Reading, Value
from sidecar.syntax.tree import Scalar
from sidecar.syntax.values import string

# What an annotation's template may name (docs/rules.md).
ANNOTATION_NAMES = frozenset({"value", "labels", "event", "ended_by", "collected"})
_SANDBOX = TemplateEnvironment()
_GIVEN = ANNOTATION_NAMES | _SANDBOX.globals.keys()


def check_template_file(path: str, reading: Reading) -> str | None:
    """Return the source of a template file; what is wrong with it is reported at its line."""
    source = reading.files.text(path)
    try:
        parse_template(source or "")
    except Wrong as wrong:
        reading.faults.error(Place(path, wrong.line or 1), str(wrong))
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
        faults.error(scalar.at_line(wrong.line or 1), str(wrong))
        return
    for name in sorted(names - _GIVEN):
        hint = did_you_mean(
            name, ANNOTATION_NAMES, "templates are given value, labels, event, ended_by, collected"
        )
        faults.error(scalar.place, f"the template names `{name}`, which does not exist", hint)
    known = set(labels)
    for line, name in _named(tree, "labels"):
        if name not in known and not hasattr(dict, name):
            otherwise = "labels of this rule: " + ", ".join(sorted(known))
            hint = did_you_mean(name, known, otherwise)
            faults.error(scalar.at_line(line), f"alerts of this rule have no label `{name}`", hint)
    kept = set(collected)
    for line, name in _named(tree, "collected"):
        if name not in kept and not hasattr(dict, name):
            hint = did_you_mean(name, kept, "name its field in `collect`")
            faults.error(scalar.at_line(line), f"this rule does not collect `{name}`", hint)


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
        return tree, meta.find_undeclared_variables(tree)
    except TemplateSyntaxError as wrong:
        raise Wrong(f"template: {wrong.message}", line=wrong.lineno) from None
    except RecursionError:
        raise Wrong("template: nested too deeply", line=1) from None


def _template(text: str) -> str:
    parse_template(text)
    return text


_TEMPLATE = Value(_template, "text", string())
Template = Annotated[str | None, _TEMPLATE]
TemplateText = Annotated[str, _TEMPLATE]
