"""The sandbox of templates: strict, bounded, escaping, with filters for instants and durations.

What a template may do is told in docs/security.md. All it does is paid for from one account, in
characters and items, *before* it is done: a turn of a loop by the length of the loop's body, a text
or a list by its length, with all that is in it. So no value is larger, and no rendering longer,
than the account allows.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from jinja2 import (
    DictLoader,
    Environment,
    Template,
    TemplateSyntaxError,
    nodes,
    pass_context,
    pass_environment,
    pass_eval_context,
)
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, StrictUndefined, Undefined, markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS as JINJA_TESTS
from jinja2.utils import _PassArg
from jinja2.visitor import NodeTransformer
from markupsafe import Markup, escape

from sidecar.render.words import (
    buttons,
    duration,
    local,
    money,
    number,
    one_line,
    pad,
    plain,
    slack_date,
    utc,
)

_DIGITS = 15  # of a float (IEEE 754)
_NARROWEST = 20


def rounded(value: Any, precision: int = 0, method: str = "common") -> Any:
    """Return Jinja2's `round`, to at most 15 digits."""
    return JINJA_FILTERS["round"](value, max(-_DIGITS, min(precision, _DIGITS)), method)


@pass_environment
def total(
    environment: Environment, values: Any, attribute: str | None = None, start: float = 0
) -> Any:
    """Return a sum of numbers; lists have none."""
    return JINJA_FILTERS["sum"](environment, values, attribute, start + 0)


@pass_environment
def wrapped(environment: Environment, text: Any, width: int = 79) -> str:
    """Return a text in lines of at most `width`, or of 20; a longer word stays whole, as a URL."""
    whole = {"break_long_words": False, "break_on_hyphens": False}
    wrap = JINJA_FILTERS["wordwrap"]
    return str(wrap(environment, plain(text), max(_NARROWEST, width), **whole))


@pass_eval_context
def as_json(context: EvalContext, value: Any) -> Any:
    return JINJA_FILTERS["tojson"](context, value)


@pass_eval_context
def chained(context: EvalContext, values: list[Any]) -> str:
    """Do what `~` does."""
    return markup_join(values) if context.autoescape else str_join(values)


# Of Jinja2's own those that take time by the length of what they are given, and return at most
# some twelve times as much.
_FILTERS = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "filesizeformat",
    "first", "float", "forceescape", "groupby", "int", "items", "join", "last", "length", "list",
    "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "select",
    "selectattr", "sort", "string", "title", "trim", "truncate", "unique", "upper", "urlencode",
    "wordcount",
)  # fmt: skip
FILTERS: dict[str, Callable[..., Any]] = {name: JINJA_FILTERS[name] for name in _FILTERS} | {
    "utc": utc,
    "local": local,
    "slack_date": slack_date,
    "buttons": buttons,
    "duration": duration,
    "plain": plain,
    "number": number,
    "money": money,
    "one_line": one_line,
    "pad": pad,
    "round": rounded,
    "sum": total,
    "tojson": as_json,
    "wordwrap": wrapped,
}
TESTS = (
    "!=", "<", "<=", "==", ">", ">=", "boolean", "defined", "divisibleby", "eq", "equalto", "even",
    "false", "float", "ge", "greaterthan", "gt", "in", "integer", "iterable", "le", "lessthan",
    "lt", "mapping", "ne", "none", "number", "odd", "sameas", "sequence", "string", "true",
    "undefined",
)  # fmt: skip
METHODS: dict[type, frozenset[str]] = {
    str: frozenset({
        "capitalize", "count", "endswith", "find", "isalnum", "isalpha", "isdigit", "join", "lower",
        "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rstrip", "split",
        "splitlines", "startswith", "strip", "title", "upper",
    }),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
}  # fmt: skip

MAX_OUTPUT = 200_000
_MAX_VALUE = 100_000
_MAX_WORK = 2_000_000
_STEP = 100  # what a call or a turn of a loop costs beside its length
_MAX_COMPILED = 2000
_MAX_BITS = 256  # of a whole number that is calculated with

_LISTS: tuple[type, ...] = (
    list,
    tuple,
    set,
    frozenset,
    type({}.keys()),
    type({}.values()),
    type({}.items()),
)
_VALUES: tuple[type, ...] = (str, int, float, Mapping, range, type(None), *_LISTS)

Escape = Callable[[str], Markup]  # what a value has to go through on its way into the text


def escape_html(text: str) -> Markup:
    return escape(text)


def size_of(value: Any) -> int:
    """Return how many characters and items a value is, with all that it holds.

    Raises SecurityError for what is too large, and for what is no value, such as a macro: only
    values can be put into one another, or printed.
    """
    size = 0
    found: list[Any] = [value]
    while found:
        one = found.pop()
        if isinstance(one, str | range):
            size += len(one)
        elif isinstance(one, int):
            size += one.bit_length() // 3
        elif isinstance(one, Mapping):
            found += [*one.keys(), *one.values()]
        elif isinstance(one, Collection) and isinstance(one, _LISTS):
            found.extend(one)
        elif isinstance(one, Undefined):
            str(one)  # raises what says its name
        elif not isinstance(one, _VALUES):
            raise SecurityError(f"a {type(one).__name__} is no text, number or list")
        size += 1
        if size + len(found) > _MAX_VALUE:
            raise SecurityError(f"it builds a text or list of more than {_MAX_VALUE} characters")
    return size


def _replaced(text: Any, old: str, new: str, count: int | None = None) -> int:
    del count
    return len(new) * plain(text).count(old)


def _joined(items: Sequence[Any], d: Any = "", attribute: Any = None) -> int:
    del attribute
    return len(items) * len(plain(d))


def _stripped(text: Any, chars: str | None = None) -> int:
    return len(plain(text)) * len(chars or "")


# What these filters, and methods of a text, cost beside what they are given.
_BESIDE: dict[str, Callable[..., int]] = {
    "join": _joined,
    "replace": _replaced,
    **dict.fromkeys(("trim", "strip", "lstrip", "rstrip"), _stripped),
}


class _Method(StrictUndefined):
    """A method of a table: there is no such item, and yet it can be called."""

    __slots__ = ()


# Names that no template can write.
SIZED, CHAINED, TURNS, RUN = "sized in the sandbox", "chained …", "turns …", "run …"


class Meters(NodeTransformer):
    """Has a template pay for what it does by itself, without a call, a filter or an operator."""

    def visit(self, node: Any, *_: Any, **__: Any) -> Any:
        length = _length(node) if isinstance(node, _REPEATED) else 0
        self.generic_visit(node)
        match node:
            case nodes.For():
                node.iter = _filter(node.iter, TURNS, length)
            case nodes.Compare():
                sides: list[Any] = [node, *node.ops]
                for side in sides:
                    side.expr = _sized(side.expr)
            case nodes.Concat():
                return _filter(nodes.List(node.nodes, lineno=node.lineno), CHAINED)
            case nodes.List() | nodes.Dict() | nodes.Tuple(ctx="load"):
                return _sized(node)
            case nodes.Getitem(arg=nodes.Slice()):
                return _sized(node)
            case nodes.Template() | nodes.Macro() | nodes.CallBlock() | nodes.Block():
                begun = _filter(nodes.Const(None, lineno=node.lineno), RUN, length)
                node.body.insert(0, nodes.ExprStmt(begun, lineno=node.lineno))
            case _:
                pass
        return node


# What can be run more than once.
_REPEATED = (nodes.For, nodes.Template, nodes.Macro, nodes.CallBlock, nodes.Block)


def _sized(node: nodes.Expr) -> nodes.Expr:
    """Have what a template builds or compares paid for; what is written in it is already."""
    written = node.items if isinstance(node, nodes.List | nodes.Tuple) else [node]
    if all(isinstance(one, nodes.Const) for one in written):
        return node
    return _filter(node, SIZED)


def _filter(value: nodes.Node, name: str, *args: int) -> nodes.Filter:
    given = [nodes.Const(one) for one in args]
    return nodes.Filter(value, name, given, [], None, None, lineno=value.lineno)


def _length(node: nodes.Node) -> int:
    """Return how long a part of a template is: its texts and all else that stands in it."""
    texts = sum(len(one.data) for one in node.find_all(nodes.TemplateData))
    consts = sum(len(one.value) for one in node.find_all(nodes.Const) if isinstance(one.value, str))
    return texts + consts + sum(1 for _ in node.find_all(nodes.Node))


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Jinja2 for templates written by operators and filled with what a log says.

    The values cannot become markup or templates, and a template cannot run away. A table has its
    items and nothing else: `event.items` is the field, and undefined without one; `event.items()`
    is what it is in Python. Not safe to share between threads.
    """

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(
        self, templates: Mapping[str, str] | None = None, escaping: Escape | None = None
    ) -> None:
        """Take `templates` by name, for include and import; without `escaping`, for plain text."""
        super().__init__(
            loader=DictLoader(dict(templates or {})),
            undefined=StrictUndefined,
            autoescape=escaping is not None,
            finalize=self._printed,
            optimized=False,  # it takes time by the square of the template's length
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._escaping = escaping
        self._work = 0
        self._compiled: dict[str, Template] = {}
        self.filters = {name: self._paid(one, _BESIDE.get(name)) for name, one in FILTERS.items()}
        self.filters |= {SIZED: self._paid(lambda value: value), CHAINED: self._paid(chained)}
        self.filters |= {TURNS: self._turns, RUN: self._run}
        self.tests = {name: self._tested(name) for name in TESTS}
        self.globals = {"range": self.globals["range"], "namespace": self.globals["namespace"]}

    def inline(self, source: str) -> Template:
        """Return `source` compiled; the same again for the same text."""
        if (template := self._compiled.get(source)) is None:
            if len(self._compiled) >= _MAX_COMPILED:
                self._compiled.clear()
            template = self._compiled[source] = self.from_string(source)
        return template

    def fill(self, template: Template, values: Mapping[str, Any]) -> str:
        """Render within the bounds; raises what the template raises, or SecurityError."""
        self._work = 0
        out: list[str] = []
        length = 0
        for piece in template.generate(values):
            length += len(piece)
            if length > MAX_OUTPUT:
                raise SecurityError(f"it writes more than {MAX_OUTPUT} characters")
            out.append(piece)
        return "".join(out)

    # What a template reaches, calls and calculates

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        if isinstance(obj, dict) and attribute in METHODS[dict]:
            return _Method(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        self._spend(size_of(argument))  # to find it is to compare it
        return super().getitem(obj, argument)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if type(obj).__module__.startswith("jinja2."):  # a loop, a macro, a namespace
            return super().is_safe_attribute(obj, attr, value)
        return any(isinstance(obj, kind) and attr in names for kind, names in METHODS.items())

    def wrap_str_format(self, value: Any) -> None:
        """Leave `format` to `is_safe_attribute`, which refuses it."""

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        words = f"templates cannot use `{attribute}` of a {type(obj).__name__}"
        return self.undefined(words, name=attribute, obj=obj, exc=SecurityError)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call what a template calls, and have it paid."""
        if isinstance(obj, _Method):
            obj = getattr(obj._undefined_obj, obj._undefined_name or "")  # noqa: SLF001 - our own
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        self._spend(_STEP + sum(map(_size, (owner, *args, *kwargs.values()))))
        if isinstance(owner, str) and (beside := _BESIDE.get(name)):
            self._spend(beside(*((*args, owner) if name == "join" else (owner, *args))))
        result = super().call(context, obj, *args, **kwargs)
        self._spend(_size(result))
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Do arithmetic on numbers, and nothing that builds huge ones or huge texts."""
        if operator == "%" and isinstance(left, str):
            raise SecurityError("`%` formats nothing here; use `~` to join texts")
        self._spend(size_of(left) + size_of(right))
        bits = [one.bit_length() for one in (left, right) if isinstance(one, int)]
        if max(bits, default=0) > _MAX_BITS or (operator == "**" and abs(right) > _MAX_BITS):
            raise SecurityError(f"it calculates with a number of more than {_MAX_BITS} bits")
        for text, times in ((left, right), (right, left)):
            if operator == "*" and isinstance(text, str | list | tuple) and isinstance(times, int):
                self._spend(size_of(text) * times)
        return super().call_binop(context, operator, left, right)

    def concat(self, pieces: Iterable[str]) -> str:
        """Join what a macro or a block has written."""
        written = list(pieces)
        self._spend(sum(map(len, written)))
        return "".join(written)

    # What is put into a template when it is compiled

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For) if "recursive" in source else ():
            if loop.recursive:
                raise TemplateSyntaxError("a loop cannot be `recursive`", loop.lineno, name)
        return tree

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(Meters().visit(source), *args, **kwargs)

    def _printed(self, value: Any) -> str:
        """Return what a template prints of a value: null prints nothing, 3.0 is 3."""
        self._spend(size_of(value))
        if isinstance(value, Markup) or self._escaping is None:
            return plain(value)
        return self._escaping(plain(value))

    @pass_context
    def _turns(self, _: Context, items: Iterable[Any], length: int) -> Iterator[Any]:
        for item in items:
            self._spend(_STEP + length)
            yield item

    @pass_context  # which also keeps the compiler from calling it
    def _run(self, _: Context, value: None, length: int) -> None:
        del value
        self._spend(_STEP + length)

    def _paid(self, call: Callable[..., Any], beside: Callable[..., int] | None = None) -> Any:
        """Return a filter that is paid for before it is called, and for what it returns."""
        wants = _PassArg.from_obj(call)

        @pass_context
        def paid(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
            given = (value, *args, *kwargs.values())
            self._spend(sum(size_of(one) for one in given if not isinstance(one, Undefined)))
            if beside is not None:
                self._spend(beside(value, *args, **kwargs))
            first = {None: (), _PassArg.environment: (self,), _PassArg.context: (context,)}
            result = call(*first.get(wants, (context.eval_ctx,)), value, *args, **kwargs)
            result = list(result) if isinstance(result, Iterator) else result
            self._spend(_size(result))
            return result

        return paid

    def _tested(self, name: str) -> Any:
        """Return Jinja2's test of that name, paid for before it is called."""
        call: Any = JINJA_TESTS[name]
        wants_environment = _PassArg.from_obj(call) is _PassArg.environment

        def tested(*args: Any) -> Any:
            self._spend(sum(map(_size, args)))
            return call(self, *args) if wants_environment else call(*args)

        return tested

    def _spend(self, work: int) -> None:
        self._work += max(0, work)
        if self._work > _MAX_WORK:
            raise SecurityError(
                f"it does more than a template may, {_MAX_WORK} characters and items"
            )


def _size(value: Any) -> int:
    """Return the size of what may also be no value."""
    return size_of(value) if isinstance(value, _VALUES) else 1
