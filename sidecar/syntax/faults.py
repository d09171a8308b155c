"""Faults: what is wrong in a file that a user wrote, where, and what would be right."""

import difflib
from collections.abc import Iterable
from typing import Literal

import msgspec


class Wrong(ValueError):  # noqa: N818 - raise Wrong("…") reads as a sentence
    """What a value's parser raises; `{key}` in the words becomes the key's name."""

    def __init__(
        self, message: str, hint: str = "", *, line: int | None = None, column: int = 1
    ) -> None:
        super().__init__(message)
        self.hint, self.line, self.column = hint, line, column


class Reported(ValueError):  # noqa: N818 - the same
    """Wrong, and already reported."""


class Off(Reported):
    """What is written is not to count: variables that it needs are empty. That is reported."""


Severity = Literal["error", "warning"]


class Place(msgspec.Struct, frozen=True, order=True):
    """A position in a file; line and column count from 1, as editors do."""

    file: str
    line: int = 1
    column: int = 1


class Fault(msgspec.Struct, frozen=True, order=True):
    """One thing wrong. `hint` says what would be right and is empty where that is plain."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: {self.severity}: {self.message}"
        return f"{text}; {self.hint}" if self.hint else text


class ConfigError(Exception):
    """The files are wrong; `faults` holds each error of each file, sorted by place."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(faults))
        super().__init__("\n".join(map(str, self.faults)))


class Faults:
    """Collects faults while files are read, so that a user hears of all of them at once.

    With `placeholders`, what is missing from outside of the files is none.
    """

    def __init__(self) -> None:
        self.placeholders = False
        # A node used twice through a YAML alias is read twice, but wrong once.
        self._found: set[Fault] = set()

    def error(self, place: Place, message: str, hint: str = "") -> None:
        self._found.add(Fault(place.file, place.line, place.column, message, hint))

    def missing(self, place: Place, message: str, hint: str = "") -> None:
        """Report what has to come from outside: a variable, a secret's file."""
        if not self.placeholders:
            self.error(place, message, hint)

    def warning(self, place: Place, message: str, hint: str = "") -> None:
        self._found.add(Fault(place.file, place.line, place.column, message, hint, "warning"))

    @property
    def errors(self) -> tuple[Fault, ...]:
        return tuple(fault for fault in self.all if fault.severity == "error")

    @property
    def warnings(self) -> tuple[Fault, ...]:
        return tuple(fault for fault in self.all if fault.severity == "warning")

    @property
    def all(self) -> tuple[Fault, ...]:
        return tuple(sorted(self._found))


class Names:
    """Names that may be defined once, with the place of each."""

    def __init__(self, kind: str, faults: Faults) -> None:
        self.kind = kind
        self.places: dict[str, Place] = {}
        self._faults = faults

    def claim(self, name: str, place: Place) -> bool:
        """Return whether `name` is new; one that is not is reported with its first place.

        An empty one was faulty, is reported already, and is not new.
        """
        first = self.places.setdefault(name, place) if name else None
        if first is place or first is None:
            return bool(name)
        here = first.file == place.file
        where = f"on line {first.line}" if here else f"in {first.file}:{first.line}"
        self._faults.error(place, f"{self.kind} `{name}` is defined twice", f"first {where}")
        return False


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a hint that names the known word nearest to `word`, or `otherwise`."""
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else otherwise


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the known key nearest to `name`, or all of them."""
    return did_you_mean(name, known, "known here: " + ", ".join(sorted(known)))
