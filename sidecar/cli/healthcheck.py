"""`sidecar healthcheck`: asks a running daemon whether it is well, for containers without curl."""

import http.client
import sys
from typing import NoReturn

import click

from sidecar.cli.client import Daemon, config_option
from sidecar.cli.output import say
from sidecar.syntax.faults import ConfigError

HEALTHY_PATH = "/-/healthy"
TIMEOUT_SECONDS = 3.0


@click.command()
@click.option("--url", help=f"Where the daemon listens; a path in it replaces {HEALTHY_PATH}.")
@config_option
def healthcheck(url: str | None, path: str | None) -> None:
    """Exit 0 if the daemon answers that it is healthy, else 1."""
    try:
        daemon = Daemon(url, path, (), TIMEOUT_SECONDS)
    except (ConfigError, OSError, ValueError) as wrong:
        _end(f"cannot tell where the daemon listens: {wrong}", healthy=False)
    try:
        status, text = daemon.ask("GET", daemon.path or HEALTHY_PATH, None, {})
    except (OSError, ValueError, http.client.HTTPException) as failure:
        _end(f"no answer from {daemon.url}: {failure}; does the daemon run?", healthy=False)
    answer = text[:1000].decode(errors="replace").partition("\n")[0]
    healthy = status == http.client.OK
    _end(answer if healthy else f"{daemon.url} answers {status}: {answer}", healthy=healthy)


def _end(line: str, *, healthy: bool) -> NoReturn:
    say(line if healthy else f"unhealthy: {line}", err=not healthy)
    sys.exit(0 if healthy else 1)
