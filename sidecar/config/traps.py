"""YAML's traps: plain scalars that mean something else than they look like."""

import re

_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
_ORDINARY_NUMBER = re.compile(r"[-+]?(0|[1-9]\d*)(\.\d+)?")

Trap = tuple[str, str]


def trap(text: str, tag: str) -> Trap | None:
    """Return message and hint when the plain scalar `text` is a trap, else None.

    `tag` is what YAML 1.1 takes it for (`bool`, `int`, `float`, `str`, …). The message does not
    show the text unless it is one of YAML's own words: it could be somebody's password.
    """
    if tag == "bool":
        return _word(text)
    if tag in ("int", "float") and _SEXAGESIMAL.fullmatch(text):
        return "unquoted, this is a number in base 60 to YAML", "quote it"
    if tag in ("int", "float", "str") and _EXPONENT.fullmatch(text):
        return "unquoted, this is a number or a text, depending on the reader", _PLAIN_NUMBER
    if tag in ("int", "float") and not _ORDINARY_NUMBER.fullmatch(text):
        return "unquoted, this is a number in a notation that few would guess", _PLAIN_NUMBER
    return None


_PLAIN_NUMBER = "write it as a plain number, or quote it"


def _word(text: str) -> Trap | None:
    if text in ("true", "false"):
        return None
    meant = "true" if text.lower() in ("yes", "on", "true", "y") else "false"
    return f"unquoted `{text}` is {meant} to YAML", f'write {meant}, or quote it: "{text}"'
