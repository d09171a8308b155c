"""`sidecar healthcheck`: asks a running daemon whether it is well, for containers without curl."""

import http.client
import os
import sys
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import SplitResult, urlsplit

import click

from sidecar.cli.output import say

if TYPE_CHECKING:
    from sidecar.config.http import Http

DEFAULT_URL = "http://127.0.0.1:9787"
HEALTHY_PATH = "/-/healthy"
TIMEOUT_SECONDS = 3.0


@click.command()
@click.option("--url", help=f"Where the daemon listens; a path in it replaces {HEALTHY_PATH}.")
@click.option(
    "-c",
    "--config",
    "path",
    help="Take http.listen from this file.  [default: " + DEFAULT_URL + "]",
)
def healthcheck(url: str | None, path: str | None) -> None:
    """Exit 0 if the daemon answers that it is healthy, else 1."""
    target = url or (url_from_config(path) if path else DEFAULT_URL)
    try:
        status, answer = ask(urlsplit(target))
    except (OSError, ValueError, http.client.HTTPException) as failure:
        _end(f"no answer from {target}: {failure}; does the daemon run?", healthy=False)
    healthy = status == http.client.OK
    _end(answer if healthy else f"{target} answers {status}: {answer}", healthy=healthy)


def ask(url: SplitResult) -> tuple[int, str]:
    """Return the status and the first line of the answer; raises OSError, HTTPException."""
    if url.scheme != "http" or not url.hostname:
        raise ValueError(f"{url.geturl()!r} is not a URL such as {DEFAULT_URL}")
    connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", url.path.rstrip("/") or HEALTHY_PATH)
        answer = connection.getresponse()
        first_line = answer.read(1000).decode(errors="replace").partition("\n")[0]
        return answer.status, first_line
    finally:
        connection.close()


def url_from_config(path: str) -> str:
    """Return where the daemon of this configuration is reached from this machine, or end."""
    # Not needed without -c; the whole configuration would take twice as long.
    from sidecar.config.http import read_http  # noqa: PLC0415 - see above
    from sidecar.syntax.faults import ConfigError  # noqa: PLC0415 - see above

    try:
        return reachable(read_http(path, os.environ, "listen"))
    except ConfigError as wrong:
        _end(f"cannot tell where the daemon listens: {wrong}", healthy=False)


def reachable(http: "Http") -> str:
    """Return the URL of what listens; every address means this machine's own."""
    host, port = http.listen
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a comparison
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _end(line: str, *, healthy: bool) -> NoReturn:
    say(line if healthy else f"unhealthy: {line}", err=not healthy)
    sys.exit(0 if healthy else 1)
