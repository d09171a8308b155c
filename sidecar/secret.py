"""What must not be printed by accident: secrets, and what would steer a terminal."""

import unicodedata
from collections.abc import Callable

_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str) -> str:
    r"""Return `text` with each character escaped that is not to be seen, blanks aside.

    Control characters, ESC and C1 among them, what turns the direction of a text, and the bytes of
    a file's name that are no UTF-8 become `\u001b` and the like, as JSON writes them. A path goes
    through here before it becomes a label, a field of an event or a line, since who may write to a
    folder of logs may name files as they like.
    """
    return text if text.isprintable() else "".join(map(printable_letter, text))


def printable_letter(letter: str) -> str:
    if letter.isprintable() or unicodedata.category(letter) == "Zs":
        return letter
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    escaped = "".join(rf"\u{units[at : at + 4]}" for at in range(0, len(units), 4))
    return _ESCAPES.get(letter, escaped)


class Secret:
    """Holds a token, password or URL; only `reveal` gives it away.

    `read`, where given, fetches the current value (its file): `refresh` calls it again after an
    authentication failure or on reload. It may raise OSError.
    """

    __slots__ = ("_read", "_value")

    def __init__(self, value: str, read: Callable[[], str] | None = None) -> None:
        self._value = value
        self._read = read

    def reveal(self) -> str:
        return self._value

    def refresh(self) -> bool:
        """Read the secret's file again; return whether its value changed. Raises OSError."""
        if self._read is None:
            return False
        before, self._value = self._value, self._read()
        return self._value != before

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def wrapped(text: str) -> tuple[str, str] | None:
    """Return what is to be said of a secret that has blanks or quotation marks around it."""
    if text == text.strip() and not (text[:1] in ("'", '"') and text[:1] == text[1:][-1:]):
        return None
    return (
        "the secret has blanks or quotation marks around it",
        "they are part of it; docker's `--env-file` keeps quotation marks",
    )
