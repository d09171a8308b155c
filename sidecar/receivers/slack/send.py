"""Posts to Slack and reads its answer."""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import anyio
import httpx

from sidecar.notify.model import Notification
from sidecar.receivers.base import (
    Failed,
    FailureKind,
    Outcome,
    Send,
    Sent,
    Verdict,
    is_tls,
    network_reason,
)
from sidecar.receivers.slack.config import SlackConfig
from sidecar.receivers.slack.message import Payload
from sidecar.secret import Secret

# Slack answers in well under a second; whoever waits longer holds up the channel's other messages.
TIMEOUT = httpx.Timeout(connect=5.0, read=10.0, write=10.0, pool=10.0)
TOTAL_TIMEOUT = 30.0
_LONGEST_ANSWER = 65_536
_LAST_PORT = 65_535

# The errors that the API and the incoming webhooks answer with: docs.slack.dev, chat.postMessage
# and incoming webhooks, and what maintainers of other senders met (named errors only; any other
# is judged by its HTTP status).
_ERRORS: dict[tuple[FailureKind, Verdict], tuple[str, ...]] = {
    (FailureKind.RATE_LIMITED, Verdict.RETRY): (
        "rate_limited", "ratelimited", "message_limit_exceeded",
    ),
    (FailureKind.SERVER_ERROR, Verdict.RETRY): (
        "rollup_error", "internal_error", "fatal_error", "update_failed",
        "external_channel_migrating", "service_unavailable", "request_timeout",
        "team_added_to_org",
    ),
    (FailureKind.PAYLOAD, Verdict.REPAIR): (
        "invalid_payload", "no_text", "invalid_blocks", "invalid_blocks_format",
        "invalid_attachments", "too_many_attachments", "attachment_payload_limit_exceeded",
        "msg_too_long", "msg_blocks_too_long", "invalid_arguments", "invalid_json",
        "json_not_object", "markdown_text_conflict",
    ),
    (FailureKind.DESTINATION, Verdict.PARK): (
        "action_prohibited", "user_not_found", "channel_not_found", "channel_is_archived",
        "is_archived", "not_in_channel", "posting_to_general_channel_denied",
        "cannot_reply_to_message", "as_user_not_supported", "messages_tab_disabled",
        "team_access_not_granted", "ekm_access_denied", "no_permission",
    ),
    (FailureKind.AUTH, Verdict.PARK): (
        "invalid_token", "no_service", "no_service_id", "no_team", "no_active_hooks",
        "team_disabled", "invalid_auth", "not_authed", "account_inactive", "token_revoked",
        "token_expired", "missing_scope", "not_allowed_token_type", "access_denied",
        "accesslimited", "org_login_required",
    ),
}  # fmt: skip
_BY_ERROR = {error: how for how, errors in _ERRORS.items() for error in errors}
# "some aspect of the operation may have succeeded" (docs.slack.dev, common errors)
_MAYBE_DONE = frozenset({"internal_error", "fatal_error"})
_BY_STATUS = {
    400: (FailureKind.PAYLOAD, Verdict.REPAIR),
    401: (FailureKind.AUTH, Verdict.RETRY),
    403: (FailureKind.AUTH, Verdict.RETRY),
    404: (FailureKind.DESTINATION, Verdict.RETRY),
    408: (FailureKind.TIMEOUT, Verdict.RETRY),
    410: (FailureKind.DESTINATION, Verdict.RETRY),
    413: (FailureKind.PAYLOAD, Verdict.REPAIR),
    425: (FailureKind.SERVER_ERROR, Verdict.RETRY),
    429: (FailureKind.RATE_LIMITED, Verdict.RETRY),
}
# Only a word of this shape is Slack's error; a proxy's page may repeat the URL it was asked for.
_NOT_SLACK = "an answer that is not Slack's"
_ERROR_WORD = re.compile(r"[a-z][a-z_]{1,60}")


@asynccontextmanager
async def connected() -> AsyncIterator[Send[SlackConfig, Payload]]:
    """Give a sender whose connections are kept until the end of the block."""
    # On a thread: the certificates are read.
    async with await asyncio.to_thread(_client) as client:
        yield partial(send, client)


def _client() -> httpx.AsyncClient:
    # anyio loads its parts when httpx first connects: the first alert would wait for them.
    anyio.run(_try_connecting)
    return httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False)


async def _try_connecting() -> None:
    with suppress(OSError):
        await anyio.connect_tcp("127.0.0.1", 0)  # no port: fails at once and reaches nobody


def build(config: SlackConfig, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON to post; only the API takes the channel, a webhook is bound to its own."""
    if config.api_url is not None:
        return dict(payload)
    return {**payload, "channel": config.channel}


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """Return what an answer means. HTTP 200 is a success only if the body says so.

    The body is a JSON object (the API, rate limits) or a bare word (webhooks: `ok` or an error).
    """
    answer = _answer(body)
    if httpx.codes.is_success(status) and _accepts(answer):
        return Sent(str(answer.get("ts", "")) if isinstance(answer, dict) else "")
    error = _error(answer)
    kind, verdict = _judge(status, error)
    unclear = httpx.codes.is_success(status) and error is None
    return Failed(
        kind,
        verdict,
        f"HTTP {status} {error or (_NOT_SLACK if unclear else '')}".rstrip(),
        retry_after=_retry_after(headers, answer),
        ambiguous=unclear or error in _MAYBE_DONE or status == httpx.codes.GATEWAY_TIMEOUT,
    )


def _accepts(answer: dict[str, Any] | str) -> bool:
    """Tell whether an answer says that the message was taken: Slack's words, or a work-alike's."""
    if isinstance(answer, str):
        return answer == "ok"
    return answer.get("ok") is True or answer.get("success") is True


async def send(
    client: httpx.AsyncClient,
    config: SlackConfig,
    payload: Payload,
    told: Notification | None = None,
    *,
    timeout: httpx.Timeout = TIMEOUT,  # noqa: ASYNC109 - one per phase, the client's own
) -> Outcome:
    """Post once; when Slack does not accept the credential and its file has a new one, again.

    Never raises for what the other side does, and nothing it returns holds the URL or the token.
    """
    del told  # all of it is in the payload
    secret = config.api_url or config.app_token or Secret("")
    body = json.dumps(build(config, payload)).encode()
    outcome = await _post(client, config, body, timeout)
    if isinstance(outcome, Failed) and outcome.kind is FailureKind.AUTH and _refreshed(secret):
        outcome = await _post(client, config, body, timeout)
    return outcome


async def _post(
    client: httpx.AsyncClient,
    config: SlackConfig,
    body: bytes,
    timeout: httpx.Timeout,  # noqa: ASYNC109 - as above
) -> Outcome:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if config.api_url is not None:
        url = config.api_url.reveal()
    else:
        url = config.app_url
        token = config.app_token.reveal() if config.app_token else ""
        headers["Authorization"] = f"Bearer {token}"
    try:
        async with asyncio.timeout(TOTAL_TIMEOUT):
            return await _exchange(client, url, headers, body, timeout)
    except TimeoutError:
        return _unknown(FailureKind.TIMEOUT, "the answer did not end in time")
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        return _unanswered(error)


async def _exchange(
    client: httpx.AsyncClient,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    timeout: httpx.Timeout,  # noqa: ASYNC109 - as above
) -> Outcome:
    """Post and read an answer of bounded length. A redirect is an answer: nothing follows it."""
    target = httpx.URL(url)
    if (target.port or 0) > _LAST_PORT:
        raise httpx.InvalidURL("no such port")  # the socket would raise it wrapped in a group
    answer = bytearray()
    async with client.stream(
        "POST", target, content=body, headers=headers, timeout=timeout, follow_redirects=False
    ) as response:
        async for chunk in response.aiter_bytes():
            answer += chunk
            if len(answer) > _LONGEST_ANSWER:
                break
        return classify(response.status_code, response.headers, bytes(answer))


def _unanswered(error: Exception) -> Failed:
    """Return what it means that no answer came."""
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return Failed(FailureKind.TIMEOUT, Verdict.RETRY, "connecting timed out")
        case httpx.WriteTimeout():
            return Failed(FailureKind.TIMEOUT, Verdict.RETRY, "sending timed out")
        case httpx.ReadTimeout():
            return _unknown(FailureKind.TIMEOUT, "no answer in time")
        case httpx.ConnectError() | httpx.ProxyError():
            kind = FailureKind.TLS if is_tls(error) else FailureKind.CONNECT
            return Failed(kind, Verdict.RETRY, network_reason(error))
        case httpx.NetworkError() | httpx.RemoteProtocolError() | httpx.DecodingError():
            return _unknown(FailureKind.CONNECTION_LOST, "the connection ended before the answer")
        case _:
            # httpx would not even try: a line break in the token, a URL that is none.
            return Failed(
                FailureKind.AUTH, Verdict.PARK, "the URL or token cannot be used as it is written"
            )


def _unknown(kind: FailureKind, detail: str) -> Failed:
    return Failed(kind, Verdict.RETRY, detail, ambiguous=True)


def _refreshed(secret: Secret) -> bool:
    try:
        return secret.refresh()
    except OSError:
        return False


def _answer(body: bytes) -> dict[str, Any] | str:
    text = body.decode("utf-8", "replace").strip()
    try:
        decoded = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return decoded if isinstance(decoded, dict) else text


def _error(answer: dict[str, Any] | str) -> str | None:
    """Return the error an answer names, a word that is safe to show; None where it names none."""
    if isinstance(answer, str):
        return answer if _ERROR_WORD.fullmatch(answer) and answer != "ok" else None
    if answer.get("ok") is False or answer.get("error"):
        named = str(answer.get("error"))
        return named if _ERROR_WORD.fullmatch(named) else "unknown_error"
    return None


def _judge(status: int, error: str | None) -> tuple[FailureKind, Verdict]:
    """Return what a refusal means.

    What names no error is not from Slack: a proxy, a portal or a page of maintenance, which
    passes. An error word that is not known here parks the message: somebody has to look.
    """
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return _BY_STATUS[status]
    if error in _BY_ERROR:
        return _BY_ERROR[error]
    if error is not None and error.startswith("restricted_action"):
        return (FailureKind.DESTINATION, Verdict.PARK)
    if status in _BY_STATUS:
        kind, verdict = _BY_STATUS[status]
        retried = verdict is Verdict.RETRY and kind in (FailureKind.AUTH, FailureKind.DESTINATION)
        return kind, Verdict.PARK if retried and error is not None else verdict
    if httpx.codes.is_server_error(status):
        return (FailureKind.SERVER_ERROR, Verdict.RETRY)
    return (FailureKind.OTHER, Verdict.RETRY if error is None else Verdict.PARK)


def _retry_after(headers: Mapping[str, str], answer: dict[str, Any] | str) -> float | None:
    """Return Slack's wish in seconds, from the header or the body; None for anything else.

    A date counts from the answer's own Date (RFC 9110 section 10.2.3): our clock may be wrong.
    """
    in_body = answer.get("retry_after") if isinstance(answer, dict) else None
    asked = headers.get("retry-after") or in_body or ""
    try:
        seconds = float(asked)
    except (TypeError, ValueError):
        seconds = _seconds_between(headers.get("date", ""), str(asked))
    return seconds if 0 < seconds < math.inf else None


def _seconds_between(one: str, other: str) -> float:
    """Return how far the second HTTP date is after the first; 0.0 if either is none."""
    try:
        return (parsedate_to_datetime(other) - parsedate_to_datetime(one)).total_seconds()
    except (TypeError, ValueError):
        return 0.0
