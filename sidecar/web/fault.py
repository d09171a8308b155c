"""Why the web server does not start, or does not do what it is asked for."""


class StartError(Exception):
    """The listener cannot start; the text is one sentence for the user."""


class Refusal(Exception):  # noqa: N818 - an answer, not an accident
    """What was asked for cannot be done: an HTTP status and a sentence for the caller."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
