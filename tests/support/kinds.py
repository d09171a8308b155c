"""What the tests of each kind of receiver need: its configuration, a server, and its failures."""

import base64
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from sidecar.receivers.alertmanager import ALERTMANAGER
from sidecar.receivers.base import AnyKind, FailureKind, Verdict
from sidecar.receivers.email import EMAIL
from sidecar.receivers.pagerduty import PAGERDUTY
from sidecar.receivers.slack import SLACK
from sidecar.receivers.webhook import WEBHOOK
from support.config import SECRET
from support.pager import PAGER
from support.sinks import Answer, Ending, Hangup, SlackSink, SmtpSink

SIGNING = "whsec_" + base64.b64encode(f"{SECRET} of 24 bytes at least".encode()).decode()

BAD_KEY = f'{{"errors": ["\'routing_key\' {SECRET}-routing is invalid"]}}'


class Server(Protocol):
    """The other side. `fail` scripts its next answer; `accepted` are the texts that it took."""

    @property
    def port(self) -> int: ...
    def fail(self, how: Any) -> None: ...
    def attempts(self) -> int: ...
    def accepted(self) -> list[str]: ...


class Web(SlackSink):
    """A web server; `accepted` are the bodies of what was not answered by the script."""

    def __init__(self) -> None:
        super().__init__()
        self._failed = 0

    def fail(self, how: Answer) -> None:
        self._failed += 1
        self.answers.append(how)

    def attempts(self) -> int:
        return len(self.requests)

    def accepted(self) -> list[str]:
        return [request.body.decode() for request in self.requests[self._failed :]]


class MailServer(SmtpSink):
    """A mail server that wants a login."""

    def __init__(self) -> None:
        super().__init__(login=("sidecar", f"{SECRET}-mail"))

    def fail(self, how: tuple[str, Any]) -> None:
        self.reply(*how)

    def attempts(self) -> int:
        return self.said.count("CONNECT")

    def accepted(self) -> list[str]:
        return [str(mail) for mail in self.messages]


@dataclass(frozen=True)
class Case:
    """A kind with one entry of its section and its keys of `global`; `{port}` is the server's.

    `failures`: what the server does, and what must come of it. The first is an outage that passes.
    """

    kind: AnyKind
    entry: str
    globals_: str
    secrets: tuple[str, ...]
    server: Callable[[], AbstractContextManager[Any]]
    failures: tuple[tuple[Any, FailureKind, Verdict], ...]


CASES = {
    case.kind.name: case
    for case in (
        Case(
            SLACK,
            "{{channel: '#team'}}",
            f"slack_app_token: xoxb-{SECRET}, "
            "slack_app_url: 'http://127.0.0.1:{port}/api/chat.postMessage'",
            (f"xoxb-{SECRET}",),
            Web,
            (
                (Answer(503), FailureKind.SERVER_ERROR, Verdict.RETRY),
                (Answer(429), FailureKind.RATE_LIMITED, Verdict.RETRY),
                (Answer(ending=Ending.DROP), FailureKind.CONNECTION_LOST, Verdict.RETRY),
                (Answer(body="invalid_blocks"), FailureKind.PAYLOAD, Verdict.REPAIR),
                (Answer(body="channel_not_found"), FailureKind.DESTINATION, Verdict.PARK),
                (Answer(body="token_revoked"), FailureKind.AUTH, Verdict.PARK),
            ),
        ),
        Case(
            EMAIL,
            "{{to: Jane <jane@example.com>}}",
            "smtp_smarthost: '127.0.0.1:{port}', smtp_from: alerts@example.com, "
            "smtp_require_tls: false, smtp_auth_username: sidecar, "
            f"smtp_auth_password: {SECRET}-mail",
            (f"{SECRET}-mail",),
            MailServer,
            (
                (("MAIL", "451 4.3.0 later"), FailureKind.SERVER_ERROR, Verdict.RETRY),
                (("EHLO", Hangup.DROP), FailureKind.CONNECTION_LOST, Verdict.RETRY),
                (("RCPT", "550 5.1.1 unknown"), FailureKind.DESTINATION, Verdict.PARK),
                (("AUTH", "535 5.7.8 no", "535 5.7.8 no"), FailureKind.AUTH, Verdict.PARK),
                (("END", "554 5.7.1 spam"), FailureKind.PAYLOAD, Verdict.PARK),
            ),
        ),
        Case(
            ALERTMANAGER,
            f"{{{{urls: ['http://127.0.0.1:{{port}}'], credentials: {SECRET}-bearer, name: am}}}}",
            "",
            (f"{SECRET}-bearer",),
            Web,
            (
                (Answer(503), FailureKind.SERVER_ERROR, Verdict.RETRY),
                (Answer(429), FailureKind.RATE_LIMITED, Verdict.RETRY),
                (Answer(ending=Ending.DROP), FailureKind.CONNECTION_LOST, Verdict.RETRY),
                (Answer(body="<!DOCTYPE html><p>Log in"), FailureKind.OTHER, Verdict.RETRY),
                (Answer(401), FailureKind.AUTH, Verdict.PARK),
                (Answer(400), FailureKind.PAYLOAD, Verdict.PARK),
            ),
        ),
        Case(
            PAGERDUTY,
            f"{{{{service: billing, routing_key: {SECRET}-routing}}}}",
            "pagerduty_url: 'http://127.0.0.1:{port}/v2/enqueue'",
            (f"{SECRET}-routing",),
            Web,
            (
                (Answer(500), FailureKind.SERVER_ERROR, Verdict.RETRY),
                (Answer(429), FailureKind.RATE_LIMITED, Verdict.RETRY),
                (Answer(ending=Ending.DROP), FailureKind.CONNECTION_LOST, Verdict.RETRY),
                (Answer(body="<!DOCTYPE html><p>Log in"), FailureKind.OTHER, Verdict.RETRY),
                (Answer(400), FailureKind.PAYLOAD, Verdict.PARK),
                (Answer(400, body=BAD_KEY), FailureKind.AUTH, Verdict.PARK),
            ),
        ),
        Case(
            WEBHOOK,
            f"{{{{url: 'http://127.0.0.1:{{port}}/{SECRET}-hook', name: hooks, "
            f"signing_secret: {SIGNING}}}}}",
            "",
            (f"{SECRET}-hook", SIGNING),
            Web,
            (
                (Answer(503), FailureKind.SERVER_ERROR, Verdict.RETRY),
                (Answer(429), FailureKind.RATE_LIMITED, Verdict.RETRY),
                (Answer(ending=Ending.DROP), FailureKind.CONNECTION_LOST, Verdict.RETRY),
                (Answer(body="<!DOCTYPE html><p>Log in"), FailureKind.OTHER, Verdict.RETRY),
                (Answer(403, body="<html>"), FailureKind.AUTH, Verdict.RETRY),
                (Answer(403), FailureKind.AUTH, Verdict.PARK),
                (Answer(404), FailureKind.DESTINATION, Verdict.PARK),
                (Answer(400), FailureKind.PAYLOAD, Verdict.PARK),
            ),
        ),
        Case(
            PAGER,
            f"{{{{service: billing, routing_key: {SECRET}-pager}}}}",
            "pager_url: 'http://127.0.0.1:{port}/v2/enqueue'",
            (f"{SECRET}-pager",),
            Web,
            (
                (Answer(503), FailureKind.SERVER_ERROR, Verdict.RETRY),
                (Answer(429), FailureKind.RATE_LIMITED, Verdict.RETRY),
                (Answer(400), FailureKind.PAYLOAD, Verdict.REPAIR),
                (Answer(403), FailureKind.AUTH, Verdict.PARK),
            ),
        ),
    )
}
