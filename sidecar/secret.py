"""A secret that cannot be printed by accident."""

from collections.abc import Callable


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
