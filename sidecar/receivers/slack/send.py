"""Posts to Slack and reads its answer."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import httpx

from sidecar.notify.model import Notification
from sidecar.receivers.base import (
    Failed,
    FailureKind,
    Outcome,
    Sent,
    Verdict,
    with_new_secret,
)
from sidecar.receivers.http import TIMEOUT, client, post, refusal, retry_after
from sidecar.receivers.slack.config import SlackConfig
from sidecar.receivers.slack.message import EDITS, REACTION, THREAD, Payload

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
# What chat.update answers of a message that is gone, too old or not ours (docs.slack.dev).
_GONE = (
    "message_not_found", "edit_window_closed", "cant_update_message", "is_inactive",
    "block_mismatch", "unknown_method",
)  # fmt: skip
_NO_OUTAGE = (FailureKind.DESTINATION, FailureKind.PAYLOAD)
_MAYBE_DONE = frozenset({"internal_error", "fatal_error"})
# Only a word of this shape is Slack's error; a proxy's page may repeat the URL it was asked for.
_NOT_SLACK = "an answer that is not Slack's"
_ERROR_WORD = re.compile(r"[a-z][a-z_]{1,60}")


def build(config: SlackConfig, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON to post; only the API takes the channel, a webhook is bound to its own."""
    ours = (EDITS, THREAD, REACTION)
    body = {name: value for name, value in payload.items() if name not in ours}
    return body if config.api_url is not None else {"channel": config.channel, **body}


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """Return what an answer means. HTTP 200 is a success only if the body says so.

    The body is a JSON object (the API, rate limits) or a bare word (webhooks: `ok` or an error).
    """
    answer = _answer(body)
    if httpx.codes.is_success(status) and _accepts(answer):
        return Sent(_name_of(answer) if isinstance(answer, dict) else "")
    error = _error(answer)
    kind, verdict = _judge(status, error)
    asked = answer.get("retry_after") if isinstance(answer, dict) else None
    unclear = httpx.codes.is_success(status) and error is None
    return Failed(
        kind,
        verdict,
        f"HTTP {status} {error or (_NOT_SLACK if unclear else '')}".rstrip(),
        retry_after=retry_after(headers, asked),
        ambiguous=unclear or error in _MAYBE_DONE or status == httpx.codes.GATEWAY_TIMEOUT,
    )


def _name_of(answer: Mapping[str, Any]) -> str:
    """Return what a message is called from now on: its channel's ID, which edits need, and ts."""
    ts = str(answer.get("ts", ""))
    channel = answer.get("channel")
    return f"{channel}/{ts}" if ts and isinstance(channel, str) else ts


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

    First the messages that it says more of are edited, which may be done any number of times. One
    that is gone, or too old to be edited, is posted anew: what it said of belongs to the new one.
    Never raises for what the other side does, and nothing it returns holds the URL or the token.
    """
    del told  # all of it is in the payload
    secret = config.api_url or config.app_token

    async def call(method: str, body: Mapping[str, Any]) -> Outcome:
        return await with_new_secret(
            lambda: _post(client, config, method, build(config, body), timeout), secret
        )

    edits = list(payload.get(EDITS, ()))
    for root, edit in edits:
        outcome = await call("chat.update", {**edit, **_named(root)})
        if isinstance(outcome, Failed):
            if not _cannot_be_edited(outcome):
                return outcome
            if root == payload.get(THREAD):
                speaker = {k: v for k, v in payload.items() if k in ("username", "icon_emoji")}
                payload = {**edit, **speaker}
    outcome = await _tell(call, payload)
    for root, edit in edits if isinstance(outcome, Sent) else ():
        if REACTION in edit:
            at = {"channel": _named(root)["channel"], "timestamp": _named(root)["ts"]}
            await call("reactions.add", {"name": edit[REACTION], **at})  # a sign, and no more
    return outcome


def _cannot_be_edited(outcome: Failed) -> bool:
    """Tell whether a message is gone, or edited by nobody; an outage says nothing of that."""
    return outcome.detail.endswith(_GONE) or outcome.kind in _NO_OUTAGE


async def _tell(
    call: Callable[[str, Mapping[str, Any]], Awaitable[Outcome]], payload: Payload
) -> Outcome:
    """Post in the thread of the message that it belongs to, or else to the channel."""
    root = payload.get(THREAD)
    if not root:
        return await call("", {k: v for k, v in payload.items() if k != "reply_broadcast"})
    name = _named(root)
    outcome = await call("", {**payload, "channel": name["channel"], "thread_ts": name["ts"]})
    return Sent(root) if isinstance(outcome, Sent) else outcome


def _named(root: str) -> dict[str, str]:
    channel, _, ts = root.partition("/")
    return {"channel": channel, "ts": ts}


async def _post(
    client: httpx.AsyncClient,
    config: SlackConfig,
    method: str,
    payload: Mapping[str, Any],
    timeout: httpx.Timeout,  # noqa: ASYNC109 - as above
) -> Outcome:
    body = json.dumps(payload).encode()
    by = config.http_config
    if config.api_url is not None:
        url = config.api_url.reveal()
        return await post(client, url, body, by=by, judge=classify, timeout=timeout)
    token = config.app_token.reveal() if config.app_token else ""
    headers = {"Authorization": f"Bearer {token}"}
    url = config.api(method) if method else config.app_url
    return await post(client, url, body, by=by, headers=headers, judge=classify, timeout=timeout)


async def acked_by(config: SlackConfig, message: str) -> str | Outcome:
    """Return what people call the user who put `ack_reaction` on a message first, if one did.

    Else the outcome of asking, as of any call.
    """
    name = _named(message)
    asked = {"channel": name["channel"], "timestamp": name["ts"], "full": "true"}
    async with client() as made:
        outcome, answer = await _ask(made, config, "reactions.get", asked)
        for reaction in answer.get("message", {}).get("reactions", ()):
            # With a skin tone it is `wave::skin-tone-2`.
            if reaction["name"].partition("::")[0] == config.ack_reaction and reaction["users"]:
                return await _called(made, config, str(reaction["users"][0]))
    return outcome


async def _called(client: httpx.AsyncClient, config: SlackConfig, user: str) -> str:
    """Return what people call a user: his id where the token must not know (`users:read`)."""
    _, answer = await _ask(client, config, "users.info", {"user": user})
    found = answer.get("user", {})
    profile = found.get("profile", {})
    names = (profile.get("display_name"), profile.get("real_name"), found.get("name"), user)
    return next(str(name) for name in names if name)


async def _ask(
    client: httpx.AsyncClient, config: SlackConfig, method: str, asked: Mapping[str, str]
) -> tuple[Outcome, dict[str, Any]]:
    """Ask a method that reads, which takes forms and no JSON; return also the answer."""
    answers: list[dict[str, Any] | str] = []

    def judge(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
        answers.append(_answer(body))
        return classify(status, headers, body)

    token = config.app_token.reveal() if config.app_token else ""
    outcome = await post(
        client,
        config.api(method),
        urlencode(asked).encode(),
        by=config.http_config,
        headers={
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/x-www-form-urlencoded",
        },
        judge=judge,
    )
    found = answers[0] if answers and isinstance(outcome, Sent) else {}
    return outcome, found if isinstance(found, dict) else {}


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
        return (FailureKind.RATE_LIMITED, Verdict.RETRY)
    if error in _BY_ERROR:
        return _BY_ERROR[error]
    if error is not None and error.startswith("restricted_action"):
        return (FailureKind.DESTINATION, Verdict.PARK)
    kind, verdict = refusal(status, theirs=error is not None)
    return kind, Verdict.REPAIR if kind is FailureKind.PAYLOAD else verdict
