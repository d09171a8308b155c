"""`sidecar metrics`: what is to be done about the series of a running daemon."""

import click

from sidecar.cli import as_utf8
from sidecar.cli.client import Client, options
from sidecar.cli.output import say


@click.group()
def metrics() -> None:
    """Look after the series of the running daemon."""


@metrics.command()
@options
@click.argument("matchers", nargs=-1, required=True, metavar="MATCHER...")
def prune(
    url: str | None, path: str | None, token_file: str | None, matchers: tuple[str, ...]
) -> None:
    """Drop the series whose labels pass every MATCHER, such as 'pod=~"web-.*"'.

    The name of a metric is its label __name__. What counters have counted goes on under __other__,
    so that sums stay right. Series that rule files name stay, others come again with an event.
    """
    asked = {"matchers": list(map(as_utf8, matchers))}
    found = Client(url, path, token_file).post("/api/v1/metrics/prune", asked)
    say(f"pruned {found['pruned']} series")
