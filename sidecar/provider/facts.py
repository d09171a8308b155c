"""From what a provider sends to an event: who signed it, what of it is kept, how a post ends.

Fields are kept by allow-list: an address, a card or a customer's name never gets in. Both shapes
of Stripe's API are read: since 2025-03-31 an invoice names its subscription in
`parent.subscription_details`, and a subscription's period stands at its items.

A signature is HMAC-SHA256 over a time and the raw bytes of the body; each is held against every
secret, in constant time. Stripe: docs.stripe.com/webhooks, "Verify webhook signatures manually".
Standard Webhooks 1.0: github.com/standard-webhooks/standard-webhooks, "Verifying webhook
authenticity".
"""

import base64
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from sidecar.parse.event import LONGEST_LABEL, OWN_PREFIX, Event, as_text, bounded, field_value
from sidecar.parse.instants import instant


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


# --- signatures

_LONGEST_HEADER = 16_384  # bytes; a hundred signatures of Stripe's are 7 KiB
_TIME = re.compile(rb"[0-9]{1,12}")
Headers = Iterable[tuple[bytes, bytes]]


class Signed(msgspec.Struct, frozen=True):
    """A right signature: which of the secrets made it, and the id and time that it covers.

    Stripe's scheme has no id beside the body's own.
    """

    secret: int
    at: float
    id: str = ""


def _header(headers: Headers, name: bytes) -> bytes:
    """Return the one value of a header; raises Refused where it is missing or stands twice."""
    found = [value for key, value in headers if key == name]
    if not found:
        raise Refused(RejectReason.NO_SIGNATURE)
    if len(found) > 1 or len(found[0]) > _LONGEST_HEADER:
        raise Refused(RejectReason.BAD_HEADER)
    return found[0]


def _time(text: bytes) -> float:
    if not _TIME.fullmatch(text):
        raise Refused(RejectReason.BAD_HEADER)
    return float(text)


def _matching(given: Sequence[bytes], right: Sequence[bytes]) -> int:
    """Return which of the right signatures is among those given; raises Refused."""
    if not given:
        raise Refused(RejectReason.BAD_HEADER)
    matching = [
        number for number, one in enumerate(right) for other in given
        if hmac.compare_digest(one, other)
    ]  # fmt: skip
    if not matching:
        raise Refused(RejectReason.BAD_SIGNATURE)
    return matching[0]


def _is_recent(at: float, now: float, tolerance: float) -> None:
    if at < now - tolerance:
        raise Refused(RejectReason.TOO_OLD)
    if at > now + tolerance:
        raise Refused(RejectReason.IN_THE_FUTURE)


def verify_stripe(
    headers: Headers, body: bytes, keys: Sequence[bytes], *, now: float, tolerance: float
) -> Signed:
    """Return what `Stripe-Signature` proves; names of headers are lower case. Raises Refused."""
    header = _header(headers, b"stripe-signature")
    pairs = [part.strip().partition(b"=") for part in header.split(b",")]
    times = [value for name, _, value in pairs if name == b"t"]
    if len(times) != 1:
        raise Refused(RejectReason.BAD_HEADER)
    at = _time(times[0])
    given = [value for name, _, value in pairs if name == b"v1"]
    text = times[0] + b"." + body
    right = [hmac.digest(key, text, "sha256").hex().encode() for key in keys]
    secret = _matching(given, right)
    _is_recent(at, now, tolerance)
    return Signed(secret, at)


def verify_standard(
    headers: Headers, body: bytes, keys: Sequence[bytes], *, now: float, tolerance: float
) -> Signed:
    """Return what the three headers of Standard Webhooks prove. Raises Refused."""
    pairs = list(headers)
    id_, stamp, header = (
        _header(pairs, name) for name in (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
    )
    at = _time(stamp)
    given = [part[3:] for part in header.split() if part.startswith(b"v1,")]
    text = b".".join((id_, stamp, body))
    right = [base64.b64encode(hmac.digest(key, text, "sha256")) for key in keys]
    secret = _matching(given, right)
    _is_recent(at, now, tolerance)
    return Signed(secret, at, id_.decode("latin-1"))


VERIFIERS: dict[str, Callable[..., Signed]] = {
    "stripe": verify_stripe,
    "standard": verify_standard,
}


# --- what is kept

STRIPE = "stripe"
THIN = "thin"  # the status of an event that only names its object
_LONGEST_TEXT = 1000
_MOST_ITEMS = 20
_LONGEST_ID = 255
# What a type means in the words that rules know, where the object's own status says something else.
_STATUS = {
    "invoice.payment_failed": "payment_failure",
    "invoice.payment_succeeded": "billing_period_paid",
    "invoice.payment_action_required": "payment_action_required",
    "invoice.finalization_failed": "finalization_failed",
    "customer.subscription.trial_will_end": "trial_will_end",
}
_REFERENCES = ("customer", "subscription", "invoice", "charge", "payment_intent", "dispute")
# Our name -> where an object may have it, the first that is there.
_PLACES: dict[str, tuple[str, ...]] = {
    "subscription_id": (
        "parent.subscription_details.subscription", "subscription_details.subscription",
    ),
    "current_period_end": ("current_period_end", "items.data.0.current_period_end"),
    "decline_code": (
        "last_payment_error.decline_code", "last_setup_error.decline_code", "outcome.reason",
    ),
    "error_code": ("last_finalization_error.code", "last_payment_error.code"),
    "due_by": ("evidence_details.due_by",),
    "past_due": ("requirements.past_due",),
    "disabled_reason": ("requirements.disabled_reason",),
    "network_decline_code": ("outcome.network_decline_code",),
}  # fmt: skip
_KEPT = (
    "actionable", "amount", "amount_due", "amount_paid", "amount_refunded", "amount_remaining",
    "arrival_date", "attempt_count", "billing_reason", "cancel_at_period_end", "canceled_at",
    "charges_enabled", "collection_method", "currency", "ended_at", "failure_code", "fraud_type",
    "payment_status", "payouts_enabled", "reason", "trial_end",
)  # fmt: skip
_KEPT_NULL = ("next_payment_attempt",)  # null says that there is none


class Told(msgspec.Struct, frozen=True):
    """One event as the provider says it. `created`: its time there, in epoch seconds."""

    id: str
    provider: str
    event_type: str
    status: str
    created: float | None
    fields: dict[str, Any]
    livemode: bool | None = None

    def event(self, now: float) -> Event:
        """Return it as if a log had said it, read at `now`."""
        at = now if self.created is None else min(self.created, now)
        return Event(self.provider, self.event_type, self.status, at, self.fields)


class Arrival(msgspec.Struct, frozen=True):
    """An event and which `source` tells of it; `open`: what to keep of it until its end is told."""

    source: str
    told: Told
    open: str = ""


def stripe_told(
    body: Mapping[str, Any], org_id: Sequence[str] = (), keep: Sequence[str] = ()
) -> Told:
    """Return the event that Stripe's `body` is; raises Refused where it is none."""
    id_, event_type = _label(body, "id", _LONGEST_ID), _label(body, "type", LONGEST_LABEL)
    thing = _object(body)
    status = _status(event_type, thing)
    created = instant(body.get("created"))
    livemode = body.get("livemode")
    fields: dict[str, Any] = {
        "webhook_provider": STRIPE, "event_type": event_type, "status": status, "event_id": id_,
        "form": STRIPE,
    }  # fmt: skip
    for name in ("created", "livemode", "api_version", "account"):
        if (value := _plain(body.get(name))) is not None:
            fields[name] = value
    fields = {**fields, **_of_stripe(thing), **_chosen(thing, keep), **fields}
    if org := _organisation(thing, org_id) or str(fields.get("customer_id", "")):
        fields["org_id"] = org
    return Told(
        id=id_, provider=STRIPE, event_type=event_type, status=status, created=created,
        fields=fields, livemode=livemode if isinstance(livemode, bool) else None,
    )  # fmt: skip


def standard_told(
    body: Mapping[str, Any],
    signed: Signed,
    provider: str,
    org_id: Sequence[str] = (),
    keep: Sequence[str] = (),
) -> Told:
    """Return the event of a Standard Webhook: type, timestamp, data. Raises Refused."""
    if not 0 < len(signed.id) <= _LONGEST_ID:
        raise Refused(RejectReason.BAD_HEADER)
    event_type = _label(body, "type", LONGEST_LABEL)
    data = body.get("data")
    thing = data if isinstance(data, Mapping) else {}
    status = _status(event_type, thing)
    fields: dict[str, Any] = {
        "webhook_provider": provider, "event_type": event_type, "status": status,
        "event_id": signed.id, "form": "signed",
    }  # fmt: skip
    fields = {**fields, **_chosen(thing, keep), **fields}
    if org := _organisation(thing, org_id) or as_text(thing.get("customer_id")):
        fields["org_id"] = org
    created = instant(body.get("timestamp"))
    return Told(
        id=signed.id, provider=provider, event_type=event_type, status=status,
        created=signed.at if created is None else created, fields=fields,
    )  # fmt: skip


def _label(body: Mapping[str, Any], name: str, longest: int) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        raise Refused(RejectReason.BAD_BODY)
    return value


def _object(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `data.object`; of a thin event, what it names: `related_object`."""
    data = body.get("data")
    thing = data.get("object") if isinstance(data, Mapping) else None
    return thing if isinstance(thing, Mapping) else {}


def _status(event_type: str, thing: Mapping[str, Any]) -> str:
    if known := _STATUS.get(event_type):
        return known
    if event_type == "charge.refunded" and thing:
        return "full_refund" if thing.get("refunded") is True else "partial_refund"
    own = thing.get("status")
    if isinstance(own, str) and 0 < len(own) <= LONGEST_LABEL:
        return own
    return event_type.rpartition(".")[2] or event_type if thing else THIN


def _of_stripe(thing: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    kind, own = thing.get("object"), _plain(thing.get("id"))
    if isinstance(kind, str) and own is not None:
        found[f"{kind.rpartition('.')[2][:60]}_id"] = own
    for name in _REFERENCES:
        value = thing.get(name)
        if (named := value.get("id") if isinstance(value, Mapping) else value) is not None:
            found[f"{name}_id"] = _plain(named)
    for name, places in _PLACES.items():
        value = next((v for at in places if (v := _at(thing, at)) is not None), None)
        if value is not None and name not in found:
            found[name] = value
    found |= {name: v for name in _KEPT if (v := _plain(thing.get(name))) is not None}
    return found | {name: _plain(thing[name]) for name in _KEPT_NULL if name in thing}


def _chosen(thing: Mapping[str, Any], keep: Sequence[str]) -> dict[str, Any]:
    """Return the fields that the configuration names; `metadata.plan` is `metadata_plan`."""
    found = ((name.replace(".", "_"), _at(thing, name)) for name in keep)
    return {
        name: value
        for name, value in found
        if value is not None and not name.startswith(OWN_PREFIX)
    }


def _organisation(thing: Mapping[str, Any], places: Sequence[str]) -> str:
    found = (as_text(_at(thing, place)) for place in places)
    return next((text for text in found if text), "")


def _at(thing: Mapping[str, Any], place: str) -> Any:
    """Return what a dotted place leads to, as a plain value; `0` is the first of a list."""
    if ".0." in place:
        before, _, behind = place.partition(".0.")
        items = field_value(thing, before)
        first = items[0] if isinstance(items, list) and items else None
        return _at(first, behind) if isinstance(first, Mapping) else None
    value = field_value(thing, place)
    if isinstance(value, Mapping):  # expanded
        value = value.get("id")
    return _plain(value)


def _plain(value: Any) -> Any:
    """Return a text, a number, a flag or a list of such, bounded; None for anything else."""
    if isinstance(value, list):
        return [one for item in value[:_MOST_ITEMS] if (one := _single(item)) is not None]
    return _single(value)


def _single(value: Any) -> Any:
    if isinstance(value, str):
        return bounded(value, _LONGEST_TEXT)
    if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    return None
