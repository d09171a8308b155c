"""How a post and a question to the provider end: closed sets, since they are labels of metrics."""

from enum import StrEnum

import msgspec


class RejectReason(StrEnum):
    """Why a post is no webhook. A closed set: it is a metric label."""

    NO_SIGNATURE = "no_signature"
    BAD_HEADER = "bad_header"  # it cannot be read, or stands twice
    BAD_SIGNATURE = "bad_signature"
    TOO_OLD = "too_old"
    IN_THE_FUTURE = "in_the_future"
    BAD_BODY = "bad_body"  # no JSON, or no event
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    BAD_METHOD = "bad_method"
    OTHER_MODE = "other_mode"  # test mode where live is asked for, or the reverse
    UNAVAILABLE = "unavailable"  # the state cannot be written, or not in time


class Refused(Exception):  # noqa: N818 - an answer, not an accident
    """The post is not taken; `reason` says why."""

    def __init__(self, reason: RejectReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Unavailable(Exception):  # noqa: N818 - a state, which may pass
    """What is told cannot be committed now; it has to be told again."""


class Answered(msgspec.Struct, frozen=True):
    """How one post ended, for the metrics.

    `path`: empty for one that nobody configured. `delay`: seconds from the event's creation to its
    receipt. `secret`: which of the secrets signed it.
    """

    path: str
    code: int
    reason: RejectReason | None = None
    duplicate: bool = False
    delay: float | None = None
    secret: int | None = None


class Trouble(StrEnum):
    """Why Stripe did not answer. A closed set: it is a metric label."""

    KEY_REFUSED = "key_refused"
    KEY_NOT_ALLOWED = "key_not_allowed"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    NO_ANSWER = "no_answer"
    BAD_ANSWER = "bad_answer"


_SAID = {
    Trouble.KEY_REFUSED: "the key is wrong, was rolled, or has expired",
    Trouble.KEY_NOT_ALLOWED: "the key may not read {}; a restricted key needs that permission",
    Trouble.RATE_LIMITED: "too many requests",
    Trouble.SERVER_ERROR: "Stripe fails by itself",
    Trouble.NO_ANSWER: "no answer",
    Trouble.BAD_ANSWER: "the answer is no list of Stripe's",
}


class NotAnswered(Exception):  # noqa: N818 - a state, which may pass
    """A list could not be had; the text is a sentence and holds nothing of the key."""

    def __init__(self, trouble: Trouble, what: str, wait: float | None = None) -> None:
        super().__init__(_SAID[trouble].format(what))
        self.trouble = trouble
        self.wait = wait
