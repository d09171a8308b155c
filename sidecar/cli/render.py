"""`sidecar render`: what a receiver would read, without sending it."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial

import click
import msgspec

from sidecar.cli.client import CANNOT, PROBLEM, end
from sidecar.cli.configured import (
    LOG_FILE,
    UnreadableLogError,
    config_option,
    loaded,
    named,
    read_chunks,
)
from sidecar.cli.output import paint, say
from sidecar.clock import SystemClock
from sidecar.config.settings import Config
from sidecar.render.words import utc
from sidecar.simulate.messages import Copy, Message, MessageRenderer
from sidecar.simulate.replay import Replay, ReplayedLog
from sidecar.simulate.sample import sample, sample_rule


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
        ReplayedLog(path, partial(read_chunks, path, number, _unheard))
        for number, path in enumerate(samples)
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


def _unheard(_: int) -> None: ...


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
