"""What a value's parser raises."""


class Wrong(ValueError):  # noqa: N818 - raise Wrong("…") reads as a sentence
    """What a value's parser raises; `{key}` in the words becomes the key's name."""

    def __init__(self, message: str, hint: str = "", *, line: int | None = None) -> None:
        super().__init__(message)
        self.hint, self.line = hint, line


class Reported(ValueError):  # noqa: N818 - the same
    """Wrong, and already reported."""
