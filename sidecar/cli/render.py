"""Whom a message reaches, how it reads, and whether it arrives: `route`, `render`, `notify`."""

import asyncio
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import click
import msgspec

from sidecar.cli import as_utf8
from sidecar.cli.client import CANNOT, PROBLEM, end, pairs
from sidecar.cli.configured import (
    LOG_FILE,
    UnreadableLogError,
    config_option,
    loaded,
    named,
    read_chunks,
)
from sidecar.cli.output import Part, paint, say
from sidecar.clock import SystemClock
from sidecar.config.settings import Config
from sidecar.deliver.worker import Senders, connected, connections
from sidecar.matchers import all_match
from sidecar.notify.group import Destination, destinations, group_labels, mails_owner, match_routes
from sidecar.notify.model import Notice, NoticeStatus, Notification, Reason, Route
from sidecar.receivers.base import AnyKind, Failed, FailureKind, Outcome, Sent, Verdict
from sidecar.redact import Redactor
from sidecar.render.renderer import Renderer
from sidecar.render.words import utc
from sidecar.simulate.messages import Copy, Message, MessageRenderer, sample, sample_rule
from sidecar.simulate.replay import Replay, ReplayedLog

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
@config_option("Routes and receivers, and the rules that --alert names.")
@click.argument("labels", nargs=-1, metavar="[LABEL=VALUE]...")
@click.option("--alert", help="Take the labels that this alert's rule gives it.")
@click.option(
    "--expect", multiple=True, metavar="RECEIVER",
    help="Exit 1 unless just these receivers are told; several times, or with commas between.",
)  # fmt: skip
def route(config: str, labels: tuple[str, ...], alert: str | None, expect: tuple[str, ...]) -> None:
    """Show the way of an alert with these labels through the routes, and who is told of it."""
    read = loaded(config, placeholders=True)
    wanted = {
        **_of_alert(read, alert),
        **pairs(labels, "LABEL=VALUE, for example severity=critical"),
    }
    for line in _way(read.route, wanted, 0):
        say(line)
    taken = match_routes(read.route, wanted)
    for one in taken:
        about = " ".join(f"{k}={v}" for k, v in group_labels(one, wanted).items())
        to = ", ".join(to.name for to in destinations(read.receivers[one.receiver]) if to.name)
        say(f"told: {one.receiver} ({to or 'nobody'}), grouped by {about or 'nothing'}")
    asked = [name.strip() for some in expect for name in as_utf8(some).split(",")]
    found = list(dict.fromkeys(one.receiver for one in taken))
    if asked and set(asked) != set(found):
        end(f"expected {', '.join(asked)}, and told is {', '.join(found)}", PROBLEM)
    sys.exit(0)


def _of_alert(config: Config, alert: str | None) -> dict[str, str]:
    if alert is None:
        return {}
    rules = {rule.name: rule for rule in config.rules}
    return {"alertname": alert, **rules[named("alert", as_utf8(alert), rules)].labels}


def _way(route: Route, labels: Mapping[str, str], depth: int) -> Iterator[Part]:
    """Yield a line for each route that is asked, those below it that are, and what comes of it."""
    passes = all_match(route.matchers, lambda name: labels.get(name, ""))
    tests = " ".join(map(str, route.matchers)) or "every alert"
    verdict = f"{'yes' if passes else 'no'}, {tests}"
    then = f" -> {route.receiver}" if passes else ""
    more = ", and on to the next" if passes and route.continue_ else ""
    yield paint(f"{'  ' * depth}{verdict}{then}{more}", dim=not passes)
    for child in route.routes if passes else ():
        yield from _way(child, labels, depth + 1)
        if all_match(child.matchers, lambda name: labels.get(name, "")) and not child.continue_:
            return


# --- how it reads


@click.command()
@config_option("Rules, receivers and templates.")
@click.option("--alert", help="Of this alert; else of the first that the receiver is told of.")
@click.option(
    "--sample",
    "samples",
    multiple=True,
    type=LOG_FILE,
    metavar="LOG",
    help="The first message that this log raises, gzipped or not; may be given again.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json", "html"]),
    default="text",
    show_default=True,
    help="What a person reads; what is posted, for Slack's block builder; a mail's HTML.",
)
@click.option("--open", "open_", is_flag=True, help="Open a mail's HTML in a browser.")
@click.argument("receiver")
def render(  # noqa: PLR0917 - click passes them by name
    config: str,
    alert: str | None,
    samples: tuple[str, ...],
    format_: str,
    open_: bool,  # noqa: FBT001 - same
    receiver: str,
) -> None:
    """Show the message that RECEIVER would get, for each of its destinations; nothing is sent.

    Without --sample it is about an alert made up from its rule, in which what a log would say is
    called by its name. Exits 0, 1 if a template fails or the configuration is wrong, 2 if there is
    no such receiver, alert or message.
    """
    read = loaded(config, placeholders=True)
    named("receiver", receiver, read.receivers)
    if alert is not None:
        named("alert", alert, [rule.name for rule in read.rules])
    if samples:
        copies = _from_logs(read, receiver, alert, samples)
    else:
        copies = _made_up(read, receiver, alert)
    if open_:
        _open(copies)
    for copy in () if open_ else copies:
        _show(copy, format_)
    faulty = [copy for copy in copies if copy.fault]
    for copy in faulty:
        where = f"{copy.integration} {copy.destination}"
        say(paint("a template fails: ", "red"), f"{where}: {copy.fault}", err=True)
    sys.exit(PROBLEM if faulty else 0)


def _made_up(config: Config, receiver: str, alert: str | None) -> Sequence[Copy]:
    rules = {rule.name: rule for rule in config.rules}
    rule = sample_rule(config, receiver) if alert is None else rules[alert]
    if rule is None:
        end(f"{receiver} is told of no rule's alert; name one with --alert", CANNOT)
    told = sample(config, receiver, rule, SystemClock().now())
    return MessageRenderer(config).copies(told) or end(f"{receiver} has nobody to tell", CANNOT)


def _from_logs(
    config: Config, receiver: str, alert: str | None, samples: Sequence[str]
) -> Sequence[Copy]:
    logs = [
        ReplayedLog(path, partial(read_chunks, path, number)) for number, path in enumerate(samples)
    ]
    now = SystemClock().now()
    replay = Replay(config, clock=now, until=now)  # on to where the last group has been told
    try:
        found = next(_about(replay.messages(logs), receiver, alert), None)
    except UnreadableLogError as wrong:
        end(str(wrong), CANNOT)
    if found is None:
        about = f" about {alert}" if alert else ""
        end(f"the sample raises no message to {receiver}{about}", CANNOT)
    say(paint(f"told at {utc(found.at)}: {found.reason}", dim=True), err=True)
    return found.copies


def _about(messages: Iterator[Message], receiver: str, alert: str | None) -> Iterator[Message]:
    for message in messages:
        names = {told.alert for told in message.told}
        if message.receiver == receiver and (alert is None or alert in names):
            yield message


def _show(copy: Copy, format_: str) -> None:
    if format_ == "json":
        text = msgspec.json.format(msgspec.json.encode(copy.payload), indent=2).decode()
    elif format_ == "html":
        text = _html(copy) or ""
    else:
        say(paint(f"{copy.integration} {copy.destination}", bold=True))
        text = f"{copy.subject}\n\n{copy.text}" if copy.subject else copy.text
    for line in (*text.strip().splitlines(), ""):
        say(line)


def _html(copy: Copy) -> str | None:
    """Return the HTML of a message whose kind has any."""
    return getattr(copy.payload, "html", None)


def _open(copies: Sequence[Copy]) -> None:
    pages = [page for copy in copies if (page := _html(copy))]
    for page in pages:
        with tempfile.NamedTemporaryFile(
            "w", suffix=".html", prefix="sidecar-", delete=False, encoding="utf-8"
        ) as out:
            out.write(page)
        say(out.name)
        click.launch(out.name)
    if not pages:
        end("no message of this receiver has HTML to open", CANNOT)


# --- whether it arrives


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
