"""`sidecar resolve`: ends an alert by hand."""

import click

from sidecar.cli import as_utf8
from sidecar.cli.client import Client, options, user
from sidecar.cli.output import say


@click.command()
@options
@click.argument("alert")
@click.argument("key", nargs=-1, metavar="[KEY=VALUE]...")
def resolve(
    url: str | None, path: str | None, token_file: str | None, alert: str, key: tuple[str, ...]
) -> None:
    """End ALERT for the KEY=VALUE pairs that name it, and forget what led to it.

    `sidecar alerts` shows both. Whoever was told that it fires is told that it ended. It fires
    again when its rule finds new reason to.
    """
    alert, wanted = as_utf8(alert), dict(map(_pair, map(as_utf8, key)))
    asked = {"alertname": alert, "key": wanted, "by": user()}
    Client(url, path, token_file).post("/api/v1/alerts/resolve", asked)
    about = " ".join(f"{name}={value}" for name, value in wanted.items())
    say(f"resolved {alert}{' for ' if about else ''}{about}")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{text!r} is not KEY=VALUE, for example org_id=org_1")
    return name, value
