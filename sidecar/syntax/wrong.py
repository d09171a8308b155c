"""What a value's parser raises."""


class Wrong(ValueError):
    """What a value's parser raises; `{key}` in the words becomes the key's name."""

    def __init__(self, message: str, hint: str = "", *, line: int | None = None) -> None:
        super().__init__(message)
        self.hint, self.line = hint, line


class Reported(ValueError):
    """Wrong, and already reported."""
