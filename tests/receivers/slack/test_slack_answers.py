"""What is posted to Slack, and what each of its answers means."""

import json

import pytest

from sidecar.receivers.base import Failed, FailureKind, Outcome, Sent, Verdict
from sidecar.receivers.slack.config import SlackConfig
from sidecar.receivers.slack.send import build, classify
from sidecar.secret import Secret

RETRY = {"rate_limited", "server_error", "timeout"}


def api(error: str, **more: object) -> bytes:
    return json.dumps({"ok": False, "error": error, **more}).encode()


def failed(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed)
    return outcome


def test_the_api_is_told_the_channel() -> None:
    config = SlackConfig(channel="#ops", app_token=Secret("x"))
    assert build(config, {"text": "hi"}) == {"text": "hi", "channel": "#ops"}


def test_a_webhook_is_bound_to_its_channel_and_told_none() -> None:
    config = SlackConfig(channel="#ops", api_url=Secret("x"))
    assert build(config, {"text": "hi"}) == {"text": "hi"}


def test_building_leaves_the_payload_as_it_was() -> None:
    payload = {"text": "hi"}
    build(SlackConfig(channel="#ops", app_token=Secret("x")), payload)
    assert payload == {"text": "hi"}


@pytest.mark.parametrize(
    ("status", "body", "reference"),
    [
        (200, b"ok", ""),
        (200, b"ok\n", ""),
        (200, b'{"ok": true, "channel": "C1", "ts": "1503435956.000247"}', "C1/1503435956.000247"),
        (200, b'{"ok": true, "ts": "1.2", "warning": "superfluous_charset"}', "1.2"),
        (200, b'{"success": true}', ""),
    ],
    ids=["webhook", "webhook line", "api", "api with a warning", "a work-alike"],
)
def test_an_accepting_answer(status: int, body: bytes, reference: str) -> None:
    assert classify(status, {}, body) == Sent(reference)


@pytest.mark.parametrize(
    ("status", "body", "kind", "verdict"),
    [
        # again later
        (429, b"", "rate_limited", "retry"),
        (429, api("rate_limited"), "rate_limited", "retry"),
        (200, api("ratelimited"), "rate_limited", "retry"),
        (200, api("message_limit_exceeded"), "rate_limited", "retry"),
        (500, b"rollup_error", "server_error", "retry"),
        (500, b"", "server_error", "retry"),
        (502, b"<html>bad gateway</html>", "server_error", "retry"),
        (503, b"service_unavailable", "server_error", "retry"),
        (599, b"", "server_error", "retry"),
        (200, api("internal_error"), "server_error", "retry"),
        (200, api("fatal_error"), "server_error", "retry"),
        (200, api("external_channel_migrating"), "server_error", "retry"),
        (408, b"", "timeout", "retry"),
        (302, b"", "other", "retry"),
        (200, b"<html>Sign in to the guest network</html>", "other", "retry"),
        # once more as plain text
        (400, b"invalid_payload", "payload", "repair"),
        (400, b"no_text", "payload", "repair"),
        (400, b"something_new", "payload", "repair"),
        (413, b"", "payload", "repair"),
        (200, api("invalid_blocks"), "payload", "repair"),
        (200, api("invalid_blocks_format"), "payload", "repair"),
        (200, api("invalid_attachments"), "payload", "repair"),
        (200, api("too_many_attachments"), "payload", "repair"),
        (200, api("msg_too_long"), "payload", "repair"),
        (200, api("msg_blocks_too_long"), "payload", "repair"),
        # slowly again, until somebody has mended something
        (200, api("something_new"), "other", "park"),
        (200, api("accesslimited"), "auth", "park"),
        (200, api("org_login_required"), "auth", "park"),
        (403, b"something_new", "auth", "park"),
        (403, b"action_prohibited", "destination", "park"),
        (400, b"user_not_found", "destination", "park"),
        (404, b"channel_not_found", "destination", "park"),
        (410, b"channel_is_archived", "destination", "park"),
        (200, api("is_archived"), "destination", "park"),
        (200, api("not_in_channel"), "destination", "park"),
        (200, api("restricted_action"), "destination", "park"),
        (200, api("restricted_action_read_only_channel"), "destination", "park"),
        (200, api("ekm_access_denied"), "destination", "park"),
        # no answer of Slack's: it passes, and it is no success
        (200, b"{}", "other", "retry"),
        (200, b"[]", "other", "retry"),
        (200, b'{"ok":false', "other", "retry"),
        (200, b"Access denied by web filter", "other", "retry"),
        (204, b"", "other", "retry"),
        (403, b"<html>proxy</html>", "auth", "retry"),
        (404, b"<html>not here</html>", "destination", "retry"),
        (410, b"", "destination", "retry"),
        (403, b"invalid_token", "auth", "park"),
        (400, b"invalid_token", "auth", "park"),
        (404, b"no_service", "auth", "park"),
        (200, api("invalid_auth"), "auth", "park"),
        (200, api("account_inactive"), "auth", "park"),
        (200, api("token_revoked"), "auth", "park"),
        (200, api("missing_scope", needed="chat:write"), "auth", "park"),
        (401, b"", "auth", "retry"),
        (403, b"", "auth", "retry"),
        (301, b"", "other", "retry"),
        (308, b"", "other", "retry"),
        (405, b"", "other", "retry"),
    ],
)
def test_what_a_refusal_means(status: int, body: bytes, kind: str, verdict: str) -> None:
    outcome = failed(classify(status, {}, body))
    assert (outcome.kind, outcome.verdict) == (FailureKind(kind), Verdict(verdict))


def test_no_status_but_2xx_is_ever_taken_for_accepted() -> None:
    accepted = [s for s in range(300, 600) if not isinstance(classify(s, {}, b"ok"), Failed)]
    assert accepted == []


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "30"}, b"", 30.0),
        ({}, b'{"retry_after": 1, "ok": false, "error": "rate_limited"}', 1.0),
        ({"retry-after": "30"}, b'{"retry_after": 1, "ok": false}', 30.0),
        ({}, b"", None),
        ({"retry-after": "soon"}, b"", None),
        ({"retry-after": "-1"}, b"", None),
        ({"retry-after": "inf"}, b"", None),
        ({"retry-after": "0"}, b"", None),
        (
            {
                "retry-after": "Mon, 02 Nov 2026 12:01:30 GMT",
                "date": "Mon, 02 Nov 2026 12:00:00 GMT",
            },
            b"",
            90.0,
        ),
        ({"retry-after": "Mon, 02 Nov 2026 12:01:30 GMT"}, b"", None),
        ({"retry-after": "nan"}, b"", None),
        ({}, b'{"retry_after": [1], "ok": false}', None),
    ],
)
def test_the_wish_to_wait_is_read(
    headers: dict[str, str], body: bytes, seconds: float | None
) -> None:
    assert failed(classify(429, headers, body)).retry_after == seconds


@pytest.mark.parametrize(
    ("status", "body", "ambiguous"),
    [
        (200, api("internal_error"), True),
        (200, api("fatal_error"), True),
        (504, b"", True),
        (500, b"rollup_error", False),
        (429, b"", False),
    ],
)
def test_slack_may_have_done_it_all_the_same(
    status: int,
    body: bytes,
    ambiguous: bool,  # noqa: FBT001 - a table
) -> None:
    assert failed(classify(status, {}, body)).ambiguous == ambiguous


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"channel_not_found", "HTTP 404 channel_not_found"),
        (b"POST /services/T0/B0/sEcReT42 not found", "HTTP 404"),
        (b"<p>/services/T0/B0/sEcReT42</p>", "HTTP 404"),
        (api("xoxb-1234-sEcReT42"), "HTTP 404 unknown_error"),
        (b'{"ok": false}', "HTTP 404 unknown_error"),
        (b"\xff\xfe", "HTTP 404"),
        (b"[" * 100_000, "HTTP 404"),
    ],
    ids=["a word", "an echo", "a page", "a token", "no error", "no text", "deep"],
)
def test_only_a_word_of_slacks_is_repeated(body: bytes, detail: str) -> None:
    assert failed(classify(404, {}, body)).detail == detail
