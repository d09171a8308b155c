"""The sandbox of templates: strict, bounded, escaping, with filters for instants and durations."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import DictLoader, Template, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_SHOWN_UNITS = 2


def utc(at: float | None) -> str:
    """Return an instant as `2026-11-02 08:20:06 UTC`; one that no calendar holds as a number."""
    if at is None:
        return ""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return f"{at:.15g} s after 1970"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: `3d 4h`, `1h 5m`, `12s`."""
    rest = max(0, round(seconds))
    parts: list[str] = []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
        if len(parts) == _SHOWN_UNITS:
            break
    return " ".join(parts) or "0s"


def plain(value: Any) -> str:
    """Return a value's text: null is empty, 3.0 is 3, true and false are lower case."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.12g}"
    return value if isinstance(value, str) else str(value)


def one_line(text: Any) -> str:
    """Return a text with every run of white space as one blank: no header can be smuggled in."""
    return " ".join(plain(text).split())


def shorten(text: str, length: int) -> str:
    """Return `text` in at most `length` characters, the cut marked."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def pad(text: Any, width: int) -> str:
    """Return a text filled up with blanks to `width`, of at most 80."""
    return plain(text).ljust(min(width, 80))


FILTERS: dict[str, Callable[..., Any]] = {
    "utc": utc,
    "duration": duration,
    "plain": plain,
    "one_line": one_line,
    "pad": pad,
}


MAX_OUTPUT = 200_000
_MAX_STEPS = 20_000
_MAX_TEXT = 100_000
_MAX_COMPILED = 2000
# What these can build is bounded by nothing that counts.
_UNBOUNDED_FILTERS = ("center", "format", "indent", "slice", "batch", "xmlattr", "pprint", "urlize")

Escape = Callable[[str], Markup]  # what a value has to go through on its way into the text


def escape_html(text: str) -> Markup:
    return escape(text)


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Jinja2 for templates written by operators and filled with what a log says.

    The values cannot become markup or templates. A mistake in a template cannot run away: loops
    and calls are counted, texts and output capped. A field named like a method of a dict
    (`items`, `values`) is the field. Not safe to share between threads.
    """

    intercepted_binops = frozenset(["*", "**", "%", "+"])

    def __init__(
        self, templates: Mapping[str, str] | None = None, escaping: Escape | None = None
    ) -> None:
        """Take `templates` by name, for include and import; without `escaping`, for plain text."""
        super().__init__(
            loader=DictLoader(dict(templates or {})),
            undefined=StrictUndefined,
            autoescape=escaping is not None,
            finalize=lambda value: _final(value, escaping),
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._steps = 0
        self._compiled: dict[str, Template] = {}
        for name in _UNBOUNDED_FILTERS:
            self.filters.pop(name)
        self.filters.update(FILTERS)
        self.filters[_COUNTED] = self._count_items
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
        self._steps = 0
        out: list[str] = []
        length = 0
        for piece in template.generate(values):
            length += len(piece)
            if length > MAX_OUTPUT:
                raise SecurityError(f"it writes more than {MAX_OUTPUT} characters")
            out.append(piece)
        return "".join(out)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call what a template calls, and count it."""
        self._step()
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Do arithmetic on numbers, and nothing that builds huge ones or huge texts."""
        sizes = [len(v) if isinstance(v, str | list | tuple) else abs(v) for v in (left, right)]
        if operator == "%" and isinstance(left, str):
            raise SecurityError("`%` formats nothing here; use `~` to join texts")
        if operator == "**" and (sizes[0] > _MAX_STEPS or sizes[1] > 64):  # noqa: PLR2004 - bits
            raise SecurityError("the power is too large")
        if (
            not all(isinstance(v, int | float) for v in (left, right))
            and (sizes[0] * sizes[1] if operator == "*" else sizes[0] + sizes[1]) > _MAX_TEXT
        ):
            raise SecurityError(f"it builds a text of more than {_MAX_TEXT} characters")
        return super().call_binop(context, operator, left, right)

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        """Have every loop of a template counted."""
        for loop in source.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, _COUNTED, [], [], None, None, lineno=loop.lineno)
        return super()._generate(source, *args, **kwargs)

    def _count_items(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._step()
            yield item

    def _step(self) -> None:
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise SecurityError(f"it loops or calls more than {_MAX_STEPS} times")


_COUNTED = "counted by the sandbox"  # a name that no template can write


def _final(value: Any, escaping: Escape | None) -> str:
    """Return what a template prints of a value: null prints nothing, 3.0 is 3."""
    if isinstance(value, Markup) or escaping is None:
        return plain(value)
    return escaping(plain(value))
