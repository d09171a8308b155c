"""`sidecar ack`: says that somebody has taken what fires."""

import click

from sidecar.cli import as_utf8
from sidecar.cli.client import Client, options, user
from sidecar.cli.output import say


@click.command()
@options
@click.argument("matchers", nargs=-1, required=True, metavar="MATCHER...")
@click.option("--comment", default="", help="What messages say of it.")
@click.option("--by", help="Who has taken it.  [default: who you are to this machine]")
def ack(
    url: str | None,
    path: str | None,
    token_file: str | None,
    *,
    matchers: tuple[str, ...],
    comment: str,
    by: str | None,
) -> None:
    """Acknowledge all that fires and passes every MATCHER, such as org_id=org_1.

    It is not told again while it fires, and nobody else is told because nobody took it; its end is
    told as ever. An alert that fires again, or with a higher severity, is news again.
    """
    asked = {
        "matchers": list(map(as_utf8, matchers)),
        "by": user() if by is None else as_utf8(by),
        "comment": as_utf8(comment),
    }
    found = Client(url, path, token_file).post("/api/v1/alerts/ack", asked)["acked"]
    for alert in found:
        about = " ".join(f"{name}={value}" for name, value in alert["key"].items())
        say(f"acknowledged {alert['alertname']}{' for ' if about else ''}{about}")
