"""Signatures: made by the official packages, and by those who have no secret."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st
from standardwebhooks import Webhook

from sidecar.provider.facts import Headers, Refused, RejectReason, verify_standard, verify_stripe
from support.stripe import SECRET, signed

NOW = 1_793_952_000.0
BODY = '{"id": "evt_1", "name": "Zoë"}'.encode()
KEY = base64.b64encode(b"0123456789abcdef01234567").decode()


def of_stripe(secret: str = SECRET, at: float = NOW, body: bytes = BODY) -> bytes:
    return signed(body, secret, at)["Stripe-Signature"].encode()


def stripe_says(*headers: bytes, body: bytes = BODY, keys: tuple[str, ...] = (SECRET,)) -> object:
    """Return which secret has signed, or the reason why none has."""
    pairs: Headers = [(b"host", b"x"), *((b"stripe-signature", header) for header in headers)]
    secrets = [key.encode() for key in keys]
    try:
        return verify_stripe(pairs, body, secrets, now=NOW, tolerance=300.0).secret
    except Refused as refused:
        return refused.reason


def test_what_stripe_signs_is_right() -> None:
    assert stripe_says(of_stripe()) == 0


@pytest.mark.parametrize("number", [0, 1, 2])
def test_while_secrets_roll_each_of_them_is_right(number: int) -> None:
    keys = ("whsec_a", "whsec_b", "whsec_c")
    assert stripe_says(of_stripe(keys[number]), keys=keys) == number


def test_each_signature_is_held_against_each_secret() -> None:
    t, _, right = of_stripe().partition(b",")
    wrong = b"v1=" + b"0" * 64
    assert stripe_says(b",".join([t, *[wrong] * 99, right])) == 0
    assert stripe_says(b",".join([t, b"v0=abc", right]), keys=("whsec_x", SECRET)) == 1
    assert stripe_says(b",".join([t, *[wrong] * 100])) == RejectReason.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (NOW - 300, 0), (NOW + 300, 0), (NOW - 301, RejectReason.TOO_OLD),
        (NOW + 301, RejectReason.IN_THE_FUTURE),
    ],
)  # fmt: skip
def test_a_signature_is_of_now(at: float, reason: object) -> None:
    assert stripe_says(of_stripe(at=at)) == reason


def test_an_old_signature_of_a_stranger_is_a_wrong_one() -> None:
    assert stripe_says(of_stripe("whsec_wrong", NOW - 9999)) == RejectReason.BAD_SIGNATURE


def test_the_raw_bytes_are_signed_and_nothing_else() -> None:
    for body in (BODY + b"\n", BODY.replace(b'"id": ', b'"id":'), b"", BODY[:-1]):
        assert stripe_says(of_stripe(), body=body) == RejectReason.BAD_SIGNATURE


@pytest.mark.parametrize(
    "header",
    [
        b"", b",", b"t=,v1=", b"t=x,v1=a", b"v1=" + b"a" * 64, b"t=1793952000", b"t=-1,v1=a",
        b"t=1793952000,t=1793952000,v1=a", b"t=1e9,v1=a", b"t=" + b"9" * 5000 + b",v1=a",
        b"\xff\x00", b"t=1793952000;v1=a", b"t=1793952000,v1=" + b"a" * 20_000,
        "t=\uff11\uff17,v1=a".encode(),
    ],
)  # fmt: skip
def test_junk_in_the_header_is_told_apart_from_a_wrong_signature(header: bytes) -> None:
    assert stripe_says(header) == RejectReason.BAD_HEADER


def test_no_header_and_two_headers() -> None:
    assert stripe_says() == RejectReason.NO_SIGNATURE
    assert stripe_says(of_stripe(), of_stripe()) == RejectReason.BAD_HEADER


@given(header=st.binary(max_size=300), body=st.binary(max_size=100))
def test_no_bytes_are_right_by_chance_or_raise(header: bytes, body: bytes) -> None:
    assert isinstance(stripe_says(header, body=body), RejectReason)


def of_standard(
    id_: str = "msg_1", at: float = NOW, body: bytes = BODY
) -> list[tuple[bytes, bytes]]:
    stamp = datetime.fromtimestamp(at, UTC)
    signature = Webhook(KEY).sign(id_, stamp, body.decode())
    found = (id_, str(int(at)), signature)
    names = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
    return [(name, text.encode()) for name, text in zip(names, found, strict=True)]


def standard_says(headers: Headers, body: bytes = BODY) -> object:
    keys = [b"another", base64.b64decode(KEY)]
    try:
        signed = verify_standard(headers, body, keys, now=NOW, tolerance=300.0)
    except Refused as refused:
        return refused.reason
    return signed.id, signed.secret, signed.at


def test_what_standard_webhooks_signs_is_right() -> None:
    assert standard_says(of_standard()) == ("msg_1", 1, NOW)
    id_, stamp, (name, right) = of_standard()
    several = (name, b"v1a,abc v1,abc " + right)
    assert standard_says([id_, stamp, several]) == ("msg_1", 1, NOW)


def test_standard_webhooks_sign_the_id_the_time_and_the_body() -> None:
    id_, stamp, signature = of_standard()
    wrong = RejectReason.BAD_SIGNATURE
    assert standard_says([(b"webhook-id", b"msg_2"), stamp, signature]) == wrong
    assert standard_says([id_, (b"webhook-timestamp", b"1793952001"), signature]) == wrong
    assert standard_says([id_, stamp, signature], BODY + b" ") == wrong
    assert standard_says([id_, stamp]) == RejectReason.NO_SIGNATURE
    assert standard_says([id_, id_, stamp, signature]) == RejectReason.BAD_HEADER
    assert standard_says(of_standard(at=NOW - 301)) == RejectReason.TOO_OLD
    assert standard_says(of_standard(at=NOW + 301)) == RejectReason.IN_THE_FUTURE
