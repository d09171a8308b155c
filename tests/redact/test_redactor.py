"""Redaction: secrets by name and by shape, mail addresses, length, at any depth."""

import json
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, strategies as st

from sidecar.redact import (
    MAX_DEPTH,
    MAX_FIELDS,
    REDACTED,
    TRUNCATED,
    Redactor,
    RedactPolicy,
)
from support.calls import calls

REDACTOR = Redactor(RedactPolicy())
SECRETS = [
    "sk_live_NotARealKey0123456789",
    "sk_test_NotARealKey0123456789",
    "rk_live_NotARealKey0123456789",
    "whsec_NotARealSecret0123456789+/=",
    "pi_3NotReal_secret_NotReal0123",
    "xoxb-000000000000-NotARealToken",
    "xapp-1-NotARealToken-123",
    "https://hooks.slack.com/services/T00000000/B00000000/NotAReal",
    "ghp_NotARealToken0123456789",
    "github_pat_NotARealToken0123456789",
    "AKIANOTAREALKEY01234",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJub3RyZWFsIn0.bm90LXJlYWwtc2lnbmF0dXJl",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAL\n-----END RSA PRIVATE KEY-----",
    "4242424242424242",
    "4242 4242 4242 4242",
    "3782-822463-10005",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_of_known_shape_is_hidden_in_a_text(secret: str) -> None:
    assert REDACTOR.text(f"before {secret} after") == f"before {REDACTED} after"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abcdef123456", f"Authorization: Bearer {REDACTED}"),
        ("sent Bearer abcdef123456.", f"sent Bearer {REDACTED}"),
        ("Basic dXNlcjpwYXNzd29yZA==", f"Basic {REDACTED}"),
        ("postgres://user:p@ss@db/billing", f"postgres://{REDACTED}@db/billing"),
        ("https://x.io/?a=1&api_key=zzz&b=2", f"https://x.io/?a=1&api_key={REDACTED}&b=2"),
        ("password=hunter2, user=eve", f"password={REDACTED}, user=eve"),
        ('{"client_secret": "hunter2"}', f'{{"client_secret": "{REDACTED}"}}'),
        ('{\\"token\\": \\"hunter2\\"}', f'{{\\"token\\": \\"{REDACTED}\\"}}'),
        ("-----BEGIN PRIVATE KEY-----\nMIIB cut off", REDACTED),
        ("paid with 4242424242424242 on 2026-11-02", f"paid with {REDACTED} on 2026-11-02"),
        ("on 2026-11-02 4242424242424242 was cut", f"on 2026-11-02 {REDACTED} was cut"),
        ("mail olga@example.com now", "mail o***@example.com now"),
        ("{'email': 'olga@example.com'}", "{'email': 'o***@example.com'}"),
        ("?email=olga@example.com", "?email=o***@example.com"),
    ],
)
def test_what_frames_a_secret_stays_readable(text: str, expected: str) -> None:
    assert REDACTOR.text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "invoice.payment_failed",
        "evt_1787f4911c17 cus_9s6XKzkNRiz8i3 in_b4edc5441427",
        "2026-11-02T08:06:30.987987",
        "1762072806123456",
        "0637e712-1111-4111-8111-111111111111",
        "basic information about the plan",
        "4242424242424241",
        "the token count is 12, tokens_used: 5",
        "pk_live_publishable",
        "https://example.com/a/b?page=2#top",
        "",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert REDACTOR.text(text) == text


@pytest.mark.parametrize(
    "name",
    ["password", "Authorization", "api_key", "apiKey", "clientSecret", "Stripe-Signature",
     "refresh_token", "card_number", "cvc", "db_password", "signing_key", "x-api-key"],
)  # fmt: skip
def test_the_value_of_a_secret_name_is_hidden_whole(name: str) -> None:
    values: list[Any] = ["plain", 123456, {"inner": 1}, ["a"]]
    hidden = [REDACTOR.fields({name: value}) for value in values]
    assert hidden == [{name: REDACTED}] * len(values)


@pytest.mark.parametrize(
    "name",
    ["idempotency_key", "lookup_key", "primary_key", "public_key", "token_count",
     "keyboard", "passenger", "org_id", "status", "attempt_count"],
)  # fmt: skip
def test_innocent_names_keep_their_values(name: str) -> None:
    assert REDACTOR.fields({name: "value"}) == {name: "value"}


def test_null_and_booleans_of_a_secret_name_are_no_secret() -> None:
    fields = {"password": None, "token": True}
    assert REDACTOR.fields(fields) == fields


def test_names_and_patterns_of_the_policy_are_hidden_too() -> None:
    redactor = Redactor(RedactPolicy(keys=("seatCode",), patterns=(r"SEAT-\d+", "(x*)")))
    fields = redactor.fields({"seat_code": "abc", "note": "for SEAT-12 only"})
    assert fields == {"seat_code": REDACTED, "note": f"for {REDACTED} only"}


def test_a_pattern_that_is_not_re2_is_refused() -> None:
    with pytest.raises(ValueError, match="not an RE2 pattern"):
        Redactor(RedactPolicy(patterns=("(?=a)",)))


def test_a_key_that_is_a_secret_is_hidden() -> None:
    assert REDACTOR.fields({"sk_live_NotARealOne": 1}) == {REDACTED: 1}


def test_long_values_are_cut_and_say_so() -> None:
    cut = Redactor(RedactPolicy(max_length=5)).text("abcdefgh")
    assert cut == "abcde...[truncated]"


def test_a_secret_is_hidden_before_the_cut_could_break_it() -> None:
    text = "x" * 990 + " sk_live_NotARealKey0123456789"
    assert "sk_live" not in REDACTOR.text(text)


def test_what_is_nested_too_deeply_is_cut_off() -> None:
    deep: Any = "sk_live_bottom"
    for _ in range(MAX_DEPTH * 5):
        deep = {"a": [deep]}
    assert "sk_live" not in str(REDACTOR.fields({"deep": deep}))


def test_numbers_that_json_or_sqlite_cannot_hold_become_text() -> None:
    fields = REDACTOR.fields({"big": 2**70, "huge": 10**9999, "nan": float("nan"), "fine": 1.5})
    assert fields == {"big": str(2**70), "huge": "33216 bits", "nan": "nan", "fine": 1.5}


def test_a_card_number_that_is_a_number_is_hidden() -> None:
    assert REDACTOR.fields({"n": 4242424242424242}) == {"n": REDACTED}


@given(st.text(), st.sampled_from(SECRETS), st.text())
def test_no_surroundings_let_a_secret_through(before: str, secret: str, after: str) -> None:
    # A digit beside a card number makes another number of it.
    assume(not secret[0].isdigit() or not _touches(before[-2:] + after[:2]))
    # A dash or letters beside a PEM frame make it another text.
    shown = REDACTOR.secrets(f"{before} {secret} {after}")
    assert secret.rsplit("\n", maxsplit=1)[-1] not in shown or secret in before + after


def _touches(edge: str) -> bool:
    return any(letter.isdigit() or letter in " -" for letter in edge)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(SECRETS),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
        | st.tuples(inner)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), JSON))
def test_whatever_comes_in_json_and_messagepack_take_what_goes_out(fields: dict[str, Any]) -> None:
    redacted = REDACTOR.fields(fields)
    assert msgspec.json.decode(msgspec.json.encode(redacted)) == redacted
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(redacted)) == redacted
    assert not any(secret in str(redacted) for secret in SECRETS if "\n" not in secret)


@given(st.text(alphabet=st.sampled_from("aB1@.:=-_/ \"'*4{}\\") | st.characters(), max_size=200))
def test_twice_is_once(text: str) -> None:
    once = REDACTOR.text(text)
    assert REDACTOR.text(once) == once


@given(st.emails())
def test_no_mail_address_comes_through_whole(address: str) -> None:
    assume("*" not in address)  # the mask is made of them
    assert address not in REDACTOR.text(f"to {address}.")


@given(st.text(max_size=300), st.sampled_from(SECRETS), st.sampled_from(["note", "api_key"]))
def test_a_label_holds_no_secret_and_twice_is_once(around: str, secret: str, name: str) -> None:
    labels = REDACTOR.labels(name)
    once = labels[f"{around} {secret}"]
    assert labels[once] == once
    assert once != labels[f"{around} {secret} "]
    assert len(once) <= 256


_WORDS = st.sampled_from(
    [*SECRETS, "org_1", "", "olga@example.com", "1234567", "90123456", "-----BEGIN X-----",
     "a" * 300, "café", "\ud800", "bearer", "abcdef123", "api_key",
     "51ef577f-633f-4af7-a118-7809816168e7", ": hunter2hunter2", "iban"]
)  # fmt: skip


@given(
    st.lists(_WORDS | st.text(max_size=30), max_size=30),
    st.sampled_from(["org_id", "api_key"]),
    st.sampled_from([(), ("^org_.$",), ("[a-z]{3}_",)]),
)
def test_labels_made_together_are_those_made_singly(
    texts: list[str], name: str, patterns: tuple[str, ...]
) -> None:
    policy = RedactPolicy(patterns=patterns)
    labels = Redactor(policy).labels(name)
    assert Redactor(policy).labels(name).of_all(texts) == [labels[text] for text in texts]


_NAMES = ["org_id", "amount", "api_key", "value", "name", "note", "card_number", "x-ole@ex.com"]
_NUMBERS = st.integers() | st.floats() | st.just(4242424242424242)
_VALUES = _WORDS | _NUMBERS | st.none() | st.booleans()


@given(st.dictionaries(st.sampled_from(_NAMES), _VALUES | st.lists(_VALUES, max_size=2)))
def test_an_event_looked_at_whole_is_redacted_as_value_by_value(fields: dict[str, Any]) -> None:
    for policy in (RedactPolicy(), RedactPolicy(keys=("note",), max_length=8)):
        redactor = Redactor(policy)
        slow = redactor._mapping(fields, 1)
        assert repr(redactor.fields(fields)) == repr(slow)
        kept = redactor.kept(fields)
        assert repr(kept) == repr(slow) or TRUNCATED in kept
        kept["another"] = "nobody's"  # what was handed out is not what is remembered
        assert repr(redactor.kept(fields)) == repr(redactor._mapping(fields, 1))


def test_an_event_whose_id_only_looks_like_a_card_is_redacted_in_few_calls() -> None:
    fields = {f"field_{n}": f"evt_{n:012x}" for n in range(20)} | {"amount": 1, "paid": True}
    fields["org_id"] = "51ef577f-633f-4af7-a118-7809816168e7"
    redactor = Redactor()
    assert redactor.kept(fields) == fields
    assert calls(partial(redactor.kept, {**fields})) <= 8 * len(fields)


def test_an_event_that_changed_is_looked_at_anew() -> None:
    redactor, fields = Redactor(), {"note": "fine"}
    assert redactor.kept(fields) == fields
    fields["note"] = SECRETS[0]
    assert redactor.kept(fields) == {"note": REDACTED}


def test_an_event_without_secrets_is_redacted_in_few_calls() -> None:
    fields = {f"field_{n}": f"evt_{n:012x}" for n in range(20)} | {"amount": 1, "paid": True}
    redactor = Redactor()
    assert redactor.fields(fields) == fields
    assert calls(partial(redactor.fields, fields)) <= 4 * len(fields)


def test_what_redaction_leaves_alone_is_the_very_label() -> None:
    labels = REDACTOR.labels("org_id")
    assert [labels[text] for text in ("org_1", "", "x" * 5000)] == ["org_1", "", "x" * 5000]


def test_labels_of_texts_that_look_alike_differ_under_the_key_of_the_state_file() -> None:
    one, other = Redactor(), Redactor()
    other.digest_key = b"another"
    olga, otto = "olga@example.com", "otto@example.com"
    made = {r.labels("who")[text] for r in (one, other) for text in (olga, otto)}
    assert len(made) == 4
    assert all(label.startswith("o***@example.com~") for label in made)


def test_the_texts_remembered_are_bounded() -> None:
    labels = Redactor().labels("org_id")
    for n in range(40_000):
        assert labels[f"org_{n}"] == f"org_{n}"
    assert labels["y" * 1000] == "y" * 1000
    assert len(labels) <= 16_384
    assert "y" * 1000 not in labels
    for n in range(0, 40_000, 100):
        assert labels.of_all([f"new_{m}" for m in range(n, n + 100)])[-1] == f"new_{n + 99}"
    assert len(labels) <= 16_384


@pytest.mark.parametrize(
    "large",
    [
        {f"f{n}": "ab " * 300 for n in range(100)},
        {f"a name of a field {n}": n for n in range(50_000)},
        {"deep": {str(n): {"x": [n, "y" * 50]} for n in range(5_000)}},
        {"list": [[1, None, "x"]] * 50_000},
    ],
)
def test_of_a_huge_event_the_small_fields_stay(large: dict[str, Any]) -> None:
    fields = {**large, "event_type": "invoice.paid", "org_id": "org_1", "amount": 7}
    shown = Redactor().kept(fields)
    assert len(json.dumps(shown)) < 2 * MAX_FIELDS
    assert {"event_type": "invoice.paid", "org_id": "org_1", "amount": 7}.items() <= shown.items()
    assert shown[TRUNCATED] == len(fields) - len(shown) + 1
    assert list(shown)[-1] == TRUNCATED
    assert Redactor().kept(shown) == shown


def test_many_fields_with_nothing_to_hide_are_too_many_as_well() -> None:
    fields = {f"a name of a field {n}": "a" for n in range(1000)}
    assert Redactor().kept(fields)[TRUNCATED] > 0
    assert Redactor().fields(fields) == fields


def test_an_event_of_usual_size_stays_whole() -> None:
    fields = {f"f{n}": "a b" * 300 for n in range(15)}
    assert Redactor().kept(fields) == fields
