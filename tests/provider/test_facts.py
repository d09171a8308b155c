"""What is kept of an event: an allow-list, in both shapes of Stripe's API."""

from typing import Any

import pytest
from hypothesis import given, strategies as st

from sidecar.provider.facts import Refused, Signed, Told, standard_told, stripe_told
from support.stripe import event

ORG = ("metadata.org_id", "client_reference_id", "parent.subscription_details.metadata.org_id")


def told(event_type: str = "invoice.paid", **more: Any) -> Told:
    return stripe_told(event(1, event_type, **more), ORG)


@pytest.mark.parametrize(
    ("event_type", "more", "status"),
    [
        ("invoice.payment_failed", {"status": "open"}, "payment_failure"),
        ("invoice.payment_succeeded", {"status": "paid"}, "billing_period_paid"),
        ("invoice.paid", {"status": "paid"}, "paid"),
        ("invoice.voided", {"status": "void"}, "void"),
        ("invoice.marked_uncollectible", {"status": "uncollectible"}, "uncollectible"),
        ("customer.subscription.updated", {"status": "past_due"}, "past_due"),
        ("customer.subscription.deleted", {"status": "canceled"}, "canceled"),
        ("charge.refunded", {"refunded": True, "status": "succeeded"}, "full_refund"),
        ("charge.refunded", {"refunded": False}, "partial_refund"),
        ("radar.early_fraud_warning.created", {}, "created"),
        ("payout.failed", {"status": "failed"}, "failed"),
    ],
)
def test_a_status_is_in_the_words_that_the_rules_know(
    event_type: str, more: dict[str, Any], status: str
) -> None:
    assert told(event_type, **more).status == status


@pytest.mark.parametrize(
    "more",
    [
        {"subscription": "sub_1"},
        {"subscription": {"id": "sub_1", "object": "subscription"}},
        {"parent": {"subscription_details": {"subscription": "sub_1"}}},
        {"parent": {"subscription_details": {"subscription": {"id": "sub_1"}}}},
    ],
)
def test_the_subscription_of_an_invoice_is_found_in_both_shapes(more: dict[str, Any]) -> None:
    assert told(**more).fields["subscription_id"] == "sub_1"


@pytest.mark.parametrize(
    "more",
    [{"current_period_end": 9}, {"items": {"data": [{"current_period_end": 9}, {"x": 1}]}}],
)
def test_the_period_of_a_subscription_is_found_in_both_shapes(more: dict[str, Any]) -> None:
    fields = told("customer.subscription.updated", **more).fields
    assert fields["current_period_end"] == 9


def test_only_what_is_listed_is_kept() -> None:
    one = stripe_told(
        event(
            customer_email="a@example.com", customer_name="A", hosted_invoice_url="https://x",
            metadata={"plan": "pro", "secret": "x"}, amount_due=4900, next_payment_attempt=None,
            sidecar_source="log", status="open",
        ),
        keep=("metadata.plan", "customer_name", "status", "sidecar_source", "missing"),
    )  # fmt: skip
    assert one.fields == {
        "webhook_provider": "stripe", "event_type": "invoice.paid", "status": "open",
        "event_id": "evt_1", "form": "stripe", "created": 1_793_952_001,
        "livemode": True, "api_version": "2026-04-22.dahlia", "invoice_id": "in_1",
        "customer_id": "cus_1", "org_id": "cus_1", "amount_due": 4900, "next_payment_attempt": None,
        "metadata_plan": "pro", "customer_name": "A",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "org"),
    [
        ({"metadata": {"org_id": "org_1"}, "client_reference_id": "org_2"}, "org_1"),
        ({"metadata": {"org_id": ""}, "client_reference_id": "org_2"}, "org_2"),
        ({"metadata": {}, "client_reference_id": None}, "cus_1"),
        ({"metadata": None}, "cus_1"),
        ({"parent": {"subscription_details": {"metadata": {"org_id": 7}}}}, "7"),
    ],
)
def test_the_organisation_is_the_first_that_is_there_else_the_customer(
    more: dict[str, Any], org: str
) -> None:
    assert told(**more).fields["org_id"] == org


def test_a_thin_event_is_kept_by_its_id_and_type() -> None:
    thin = {
        "id": "evt_1", "object": "v2.core.event", "type": "v1.billing.meter.no_meter_found",
        "created": "2026-11-06T08:00:00.000Z", "livemode": True, "related_object": {"id": "mtr_1"},
    }  # fmt: skip
    one = stripe_told(thin)
    assert (one.id, one.event_type, one.status) == ("evt_1", thin["type"], "thin")
    assert one.created == 1_793_952_000.0


def test_an_event_without_an_object_is_one() -> None:
    empty: list[Any] = [{"object": None}, {"object": []}, {}, None, "x"]
    for data in empty:
        assert stripe_told({**event(), "data": data}).status == "thin"


@pytest.mark.parametrize(
    "wrong",
    [{"id": None}, {"id": 7}, {"id": ""}, {"id": "x" * 256}, {"type": None}, {"type": "a\0"}],
)
def test_without_an_id_and_a_type_it_is_no_event(wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        stripe_told({**event(), **wrong})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
KEYS = st.sampled_from(
    ["id", "object", "customer", "parent", "items", "status", "metadata", "amount"]
)


@given(thing=JSON | st.dictionaries(KEYS, JSON), created=JSON, livemode=JSON)
def test_whatever_an_object_holds_an_event_comes_of_it(
    thing: Any, created: Any, livemode: Any
) -> None:
    body = {**event(), "data": {"object": thing}, "created": created, "livemode": livemode}
    one = stripe_told(body, ORG, ("metadata.plan", "items"))
    at = one.event(1_800_000_000.0)
    assert at.at <= 1_800_000_000.0
    assert at.provider == "stripe"


def test_a_standard_webhook_is_an_event_of_its_provider() -> None:
    body = {
        "type": "user.created",
        "timestamp": "2026-11-06T08:00:00Z",
        "data": {"org": "o", "a": 1},
    }
    one = standard_told(body, Signed(0, 5.0, "msg_1"), "clerk", ("org",), ("a",))
    assert (one.id, one.provider, one.status, one.created) == (
        "msg_1",
        "clerk",
        "created",
        1_793_952_000.0,
    )
    assert (one.fields["org_id"], one.fields["a"]) == ("o", 1)
    assert one.fields["webhook_provider"] == "clerk"
