"""What is a secret and what is none: three tables, and each place in which a secret can stand."""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from sidecar.redact import MAX_SAMPLE, REDACTED, Redactor, shapes
from sidecar.redact.names import hide_named

HERE = Path(__file__).parent
SHAPES = [json.loads(line) for line in (HERE / "secrets.jsonl").read_text().splitlines()]
NAMES = (HERE / "secret-names.txt").read_text().split()
HARMLESS = (HERE / "not-secrets.txt").read_text().splitlines()
VALUE = "vT3yKW5ds3g9UFCG"
REDACTOR = Redactor()

# Where a name and its value can stand together; each gives an event's fields.
FORMS: dict[str, Callable[[str], dict[str, Any]]] = {
    "key": lambda name: {name: VALUE},
    "nested": lambda name: {"a": [{"b": {name: VALUE}}]},
    "list under a key": lambda name: {name: [VALUE]},
    "pair": lambda name: {"headers": [[name, VALUE]]},
    "pair of bytes": lambda name: {"headers": [(name.encode(), VALUE.encode())]},
    "flat list": lambda name: {"headers": ["Host", "example.com", name, VALUE]},
    "name and value": lambda name: {"headers": [{"name": name, "value": VALUE}]},
    "Key and Value": lambda name: {"tags": [{"Key": name, "Value": VALUE}]},
    "text =": lambda name: {"text": f"sent {name}={VALUE} to it"},
    "text :": lambda name: {"text": f"sent {name}: {VALUE} to it"},
    "query": lambda name: {"text": f"GET /x?a=1&{name}={VALUE}&b=2"},
    "encoded query": lambda name: {"text": f"next={quote(f'/x?{name}={VALUE}', safe='')}"},
    "JSON in a text": lambda name: {"text": json.dumps({name: VALUE})},
    "JSON in JSON": lambda name: {"text": json.dumps(json.dumps(json.dumps({name: VALUE})))},
    "encoded JSON": lambda name: {"text": quote(json.dumps({name: VALUE}))},
    "repr in a text": lambda name: {"text": repr({name: VALUE})},
    "pair in a text": lambda name: {"text": repr([(name, VALUE)])},
    "pair of bytes in a text": lambda name: {"text": repr([(name.encode(), VALUE.encode())])},
    "name and value in a text": lambda name: {"text": json.dumps({"name": name, "value": VALUE})},
}


@pytest.mark.parametrize("frame", ["{}", "before {} after", "a\\n{}\\nb", "({})", "x={}"])
def test_a_secret_of_each_shape_never_comes_through(frame: str) -> None:
    shown = {one["name"]: REDACTOR.text(frame.replace("{}", one["text"])) for one in SHAPES}
    assert [one["name"] for one in SHAPES if one["secret"] in shown[one["name"]]] == []


def test_each_shape_is_seen_behind_the_escapes_of_a_query() -> None:
    for shape in SHAPES:
        shown = REDACTOR.text(f"next={quote(shape['text'], safe='')}")
        assert shape["secret"] not in shown, shape["name"]
        assert quote(shape["secret"], safe="") not in shown, shape["name"]


@pytest.mark.parametrize("form", FORMS)
def test_what_each_name_holds_never_comes_through(form: str) -> None:
    shown = {name: str(REDACTOR.fields(FORMS[form](name))) for name in NAMES}
    assert [name for name, text in shown.items() if VALUE in text or REDACTED not in text] == []


def test_harmless_texts_stay_readable() -> None:
    assert [REDACTOR.text(text) for text in HARMLESS] == HARMLESS


@pytest.mark.parametrize("id_", ["cs_1", "cs_test_a1B2", "sub_1Nabc", "in_1Pqx", "evt_9", "pi_3"])
@pytest.mark.parametrize("name", ["session_id", "token", "password", "api_key"])
def test_a_public_id_stays_readable_under_any_name(name: str, id_: str) -> None:
    forms = [{name: id_}, {"t": f"{name}={id_}"}, {"t": f'"{name}": "{id_}"'}]
    assert [REDACTOR.fields(form) for form in forms] == forms


def test_a_client_secret_is_no_public_id() -> None:
    assert REDACTOR.fields({"id": "pi_3Nabc_secret_1UsjOb"}) == {"id": REDACTED}


@pytest.mark.parametrize(
    "fields",
    [
        {"tokens": 1_234_567, "input_token": 77},
        {"tokens": {"input": 5, "output": 7}},
        {"session": {"status": "open", "id": "cs_1"}},
        {"address": "10.0.0.1:8080"},
        {"statuses": ["invalid_signature", "payment_failure"]},
        {"text": '"status": "missing_signature", "timestamp": "2026-11-02T08:16:21.860562"'},
        {"text": "mail to https://example.com:8080/path?to=@ops"},
    ],
)
def test_what_only_looks_like_a_secrets_name_stays_readable(fields: dict[str, Any]) -> None:
    assert REDACTOR.fields(fields) == fields


@pytest.mark.parametrize(
    "fields",
    [
        {"hosted_invoice_url": "https://pay.acme.com/i/acct_1/live_YWNjd"},
        {"url": "https://checkout.stripe.com/c/pay/cs_live_a1#fidkdWx"},
        {"url": "https://pay.acme.com/c/pay/cs_live_a1#fidkdWx"},
        {"message": "see https://invoice.stripe.com/i/acct_1/live_YWNjd?s=ap"},
        {"receipt": "https://pay.stripe.com/receipts/invoices/CAcaFwoVY"},
        {"phone": "+49 30 1234567"},
        {"text": "phone: +49 30 1234567"},
        {"address": {"line1": "1234567 Street"}},
        {"shipping": {"postal_code": "1234567"}},
        {"card": {"fingerprint": "Xt5EWLLDS7FJjR1c"}},
    ],
)
def test_what_is_a_customers_own_is_hidden(fields: dict[str, Any]) -> None:
    shown = str(REDACTOR.fields(fields))
    assert REDACTED in shown
    assert not any(part in shown for part in ("YWNjd", "fidkdWx", "CAcaF", "1234567", "Xt5E"))


def test_a_sample_is_redacted_before_it_is_cut() -> None:
    for shape in SHAPES:
        secret = shape["secret"]
        begin = MAX_SAMPLE - shape["text"].index(secret) - len(secret) // 2
        shown = REDACTOR.sample(f"{'x' * (begin - 1)} {shape['text']}")
        assert secret[: len(secret) // 2] not in shown, shape["name"]
        assert len(shown) <= MAX_SAMPLE


@pytest.mark.parametrize(
    "part", ["token=", '"token": "', "password='", "4 ", "eyJ.", "%25", "a:b@"]
)
def test_one_value_of_an_event_is_never_long_to_redact(part: str) -> None:
    """A bound instead of a clock: behind it nothing is looked at."""
    text = part * (1 << 18)
    assert len(REDACTOR.text(text)) < 1100
    assert REDACTOR.text(text) == REDACTOR.text(text[:6000])


def test_a_list_under_a_name_ends_at_no_bracket_of_its_texts() -> None:
    text = json.dumps({"token": [["authorization", f"user[password]={VALUE}&commit=1"]], "a": 1})
    shown = REDACTOR.text(text)
    assert VALUE not in shown
    assert shown.endswith('"a": 1}')


def test_a_number_of_a_sentence_stays_readable() -> None:
    assert REDACTOR.text("signature: 5 in 5 minutes") == "signature: 5 in 5 minutes"
    assert REDACTOR.text("pin: 1234") == f"pin: {REDACTED}"


def searched_for_each(text: str, layers: int = 4) -> str:
    """Hide what each shape finds, whether anything says that it is there or not."""
    for shape in shapes.SHAPES:
        text = shape.hide(text)
    if layers:
        text = shapes._BASE64.sub(lambda run: shapes._hide_encoded(run[0], layers - 1), text)
    text = hide_named(text)
    return shapes._unescaped(text, layers - 1) if layers else text


IDS = [
    "3d1de3f9-f95d-4177-8377-9bd9dbac583f", "evt_1OqPrs2eZvKYlo2C0aBcDeFg", "invoice-paid-failed",
    b64encode(b"password=hunter2hunter2").decode(), b64encode(b"a harmless text").decode(),
    b64encode(b"sk_live_NotARealKey0123456789").decode().rstrip("="),
    b64encode(b64encode(b"whsec_NotARealSecret0123")).decode(),
    b64encode(bytes(range(40))).decode(),
    "51ef577f-633f-4af7-a118-7809816168e7", "4242424242424242", "4242-4242", "\n\0\n", " ",
    "", "=", "==", "_", "/", "+", "paid", "%41", "password", ":",
]  # fmt: skip


@given(st.lists(st.sampled_from(IDS) | st.text(max_size=3), max_size=6).map("".join))
def test_ids_that_could_be_base64_or_cards_are_hidden_where_they_are(text: str) -> None:
    text = shapes.well_formed(text)
    assert shapes.hide_secrets(text) == searched_for_each(text)


@given(
    st.text(max_size=20).filter(str.isprintable), st.sampled_from([b64encode, urlsafe_b64encode])
)
def test_a_secret_behind_base64_is_hidden_whatever_the_text_begins_with(
    before: str, encode: Callable[[bytes], bytes]
) -> None:
    encoded = encode(f"{before} password=hunter2hunter2".encode()).decode()
    assert shapes.hide_secrets(encoded) == REDACTED


SIGNS = [
    "api_key",
    "note",
    "cookie",
    "value",
    "name",
    "=",
    ": ",
    "=>",
    ",",
    '"',
    "\\",
    "'",
    "[",
    "(",
]
SIGNS += ["]", "sk_1", "b", "5", " ", "\n", "?code=", "a=1; b=2"]


@given(st.lists(st.sampled_from(SIGNS), max_size=14).map("".join))
def test_what_a_secrets_name_holds_is_hidden_alike_behind_letters_of_any_tongue(text: str) -> None:
    assert hide_named(f"\u00e9\n{text}") == f"\u00e9\n{hide_named(text)}"
