"""Whether a body was signed by who knows the secret: Stripe's scheme, and Standard Webhooks'.

Both are HMAC-SHA256 over a time and the raw bytes of the body. Every signature is held against
every secret, in constant time.

Stripe: docs.stripe.com/webhooks, "Verify webhook signatures manually". Standard Webhooks 1.0:
github.com/standard-webhooks/standard-webhooks, "Verifying webhook authenticity".
"""

import base64
import hmac
import re
from collections.abc import Callable, Iterable, Sequence

import msgspec

from sidecar.provider.outcome import Refused, RejectReason

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
