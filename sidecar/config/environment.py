"""Expansion of `${NAME}` and `${NAME:-default}` in the scalars of sidecar.yaml."""

import re
from collections.abc import Mapping

_MARK = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<fallback>:-[^}]*)?\}|(?P<open>\{))"
)


class ExpansionError(ValueError):
    """A `${…}` that cannot be expanded. `offset`: where in the text; `hint`: what would help."""

    def __init__(self, message: str, offset: int, hint: str) -> None:
        super().__init__(message)
        self.offset = offset
        self.hint = hint


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Return `text` with its variables replaced once: what a value holds is not expanded again.

    `$$` is a dollar, and a dollar before anything but `{` stays (regular expressions end in it).
    As in a shell, `:-` also stands in for a variable that is set but empty. Raises
    ExpansionError, which never quotes a value.
    """

    def replace(mark: re.Match[str]) -> str:
        if mark["dollar"]:
            return "$"
        if mark["open"]:
            hint = "write ${NAME} or ${NAME:-default}; $${ is a plain ${"
            raise ExpansionError("`${` does not begin a variable", mark.start(), hint)
        return _value_of(mark, environ)

    return _MARK.sub(replace, text)


def _value_of(mark: re.Match[str], environ: Mapping[str, str]) -> str:
    name, fallback = mark["name"], mark["fallback"]
    value = environ.get(name)
    if fallback is not None:
        return value or fallback.removeprefix(":-")
    if value is None:
        hint = f"set it, or give a default: ${{{name}:-…}}"
        raise ExpansionError(f"environment variable {name} is not set", mark.start(), hint)
    return value
