"""`sidecar route`: who would be told of an alert with these labels, and by which way."""

import sys
from collections.abc import Iterator, Mapping

import click

from sidecar.cli import as_utf8
from sidecar.cli.client import PROBLEM, end
from sidecar.cli.configured import config_option, loaded, named
from sidecar.cli.output import Part, paint, say
from sidecar.config.settings import Config
from sidecar.matchers import all_match
from sidecar.notify.group import destinations, group_labels, match_routes
from sidecar.notify.model import Route


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
    wanted = {**_of_alert(read, alert), **dict(map(_pair, map(as_utf8, labels)))}
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


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{text!r} is not LABEL=VALUE, for example severity=critical")
    return name, value


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
