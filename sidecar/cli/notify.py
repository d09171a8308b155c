"""`sidecar notify`: one marked test message to a receiver, and what its servers answer."""

import asyncio
import secrets
import sys

import click

from sidecar.cli.client import CANNOT, PROBLEM, end
from sidecar.cli.configured import config_option, loaded, named
from sidecar.cli.output import Part, paint, say
from sidecar.clock import SystemClock
from sidecar.config.settings import Config
from sidecar.deliver.worker import Senders, connected, connections
from sidecar.notify.group import Destination, destinations, mails_owner
from sidecar.notify.model import Notice, NoticeStatus, Notification, Reason
from sidecar.receivers.base import AnyKind, Failed, FailureKind, Outcome, Sent, Verdict
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer

ALERT = "SidecarTest"
SUMMARY = (
    "Test message: somebody ran `sidecar notify`. Nothing is wrong, and nothing is to be done."
)
# What each failure says of the other side.
WORDS = {
    FailureKind.RATE_LIMITED: "it wants to be left alone for a while",
    FailureKind.SERVER_ERROR: "it is out of order",
    FailureKind.CONNECT: "it cannot be reached",
    FailureKind.TIMEOUT: "it did not answer in time",
    FailureKind.CONNECTION_LOST: "the connection broke before it answered",
    FailureKind.PAYLOAD: "it refuses the message",
    FailureKind.AUTH: "it refuses the credentials",
    FailureKind.DESTINATION: "it knows no such destination",
    FailureKind.OWNER: "nobody is known to send it to",
    FailureKind.TLS: "the connection cannot be made secure",
    FailureKind.EXPIRED: "it is too late",
    FailureKind.INTERNAL: "a fault of the sidecar's own",
    FailureKind.OTHER: "it gives an answer that nobody here knows",
}


@click.command()
@config_option("Receivers, their accounts and templates.")
@click.argument("receiver")
def notify(config: str, receiver: str) -> None:
    """Send one test message to each destination of RECEIVER and say what came of it.

    It is about an alert SidecarTest that fired and ended at once, so that nothing stays open
    anywhere. It is sent once, past routes, outbox and state file. Exits 0 if all have accepted it,
    1 if one has not or the configuration is wrong, 2 if there is no such receiver.
    """
    read = loaded(config)
    named("receiver", receiver, read.receivers)
    found = [to for to in destinations(read.receivers[receiver]) if to.name and not to.owner]
    if not found:
        owners = (
            "; owners of organisations get no test" if mails_owner(read.receivers[receiver]) else ""
        )
        end(f"{receiver} has nobody to tell{owners}", CANNOT)
    accepted = asyncio.run(_all_sent(read, receiver, found))
    sys.exit(0 if accepted else PROBLEM)


async def _all_sent(config: Config, receiver: str, found: list[Destination]) -> bool:
    used = {to.integration for to in found}
    kinds = {kind.name: kind for kind in config.kinds if kind.name in used}
    renderer = Renderer(config.templates, Redactor(config.redact), config.origin)
    all_accepted = True
    async with connected(connections(kinds.values())) as senders:
        for to in found:
            outcome = await _sent(
                config, kinds[to.integration], senders, renderer, message(receiver, to)
            )
            say(paint(f"{to.integration} {to.name}: ", bold=True), *_said(outcome))
            all_accepted &= isinstance(outcome, Sent)
    return all_accepted


async def _sent(
    config: Config, kind: AnyKind, senders: Senders, renderer: Renderer, told: Notification
) -> Outcome:
    """Send as the daemon does: once more as plain text where that may help."""
    entry = config.receivers[told.receiver].configs[kind.name][told.index]
    outcome: Outcome = Sent()
    for plain in (False, True):
        rendering = renderer.rendering(told)
        made = kind.render(entry, rendering, plain=plain)
        if rendering.fault:
            say(paint("a template fails: ", "red"), rendering.fault, err=True)
        outcome = await senders[kind.name](entry, made.payload, told)
        if not isinstance(outcome, Failed) or outcome.verdict is not Verdict.REPAIR:
            break
    return outcome


def _said(outcome: Outcome) -> tuple[Part, ...]:
    match outcome:
        case Sent(reference):
            return (paint("accepted", "green"), f" ({reference})" if reference else "")
        case Failed():
            doubt = "; it may have arrived all the same" if outcome.ambiguous else ""
            words = f": {WORDS[outcome.kind]} ({outcome.detail}){doubt}"
            return (paint("not accepted", "red"), words)


def message(receiver: str, to: Destination) -> Notification:
    """Return the test message for one destination."""
    now = SystemClock().now()
    notice = Notice(
        status=NoticeStatus.FIRED_AND_RESOLVED,
        labels={"alertname": ALERT, "severity": "info", "receiver": receiver},
        annotations={"summary": SUMMARY},
        value=None,
        since=now,
        ended_at=now,
        event={},
        episode=1,
    )
    return Notification(
        id=secrets.token_hex(16),
        receiver=receiver,
        integration=to.integration,
        index=to.index,
        destination=to.name,
        reason=Reason.FIRED_AND_RESOLVED,
        group=ALERT,
        group_labels={"alertname": ALERT},
        notices=[notice],
        at=now,
    )
