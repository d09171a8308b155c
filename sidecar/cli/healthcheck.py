"""`sidecar healthcheck`: asks a running daemon whether it is well, for containers without curl."""

import http.client
import os
import sys
from pathlib import Path
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

import click

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
    try:
        target = url or (url_from_config(path) if path else DEFAULT_URL)
    except (OSError, ValueError) as wrong:
        _end(f"cannot tell where the daemon listens: {wrong}", healthy=False)
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
    """Return where the daemon of this configuration is reached from this machine.

    Reads that one key only: loading all of it takes ten times as long as the question itself.
    Raises OSError or ValueError.
    """
    import yaml  # noqa: PLC0415 - not needed without -c

    from sidecar.syntax.tree import expand  # noqa: PLC0415 - not needed without -c

    try:
        tree = yaml.safe_load(Path(path).read_text())
    except yaml.YAMLError as wrong:
        raise ValueError(f"{path} is not YAML: {wrong}") from wrong
    found = tree.get("http") if isinstance(tree, dict) else None
    listen = found.get("listen") if isinstance(found, dict) else None
    return DEFAULT_URL if listen is None else reachable(expand(str(listen), os.environ))


def reachable(listen: str) -> str:
    """Return the URL of a listen address `host:port`; every address means this machine's own."""
    host, _, port = listen.rpartition(":")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - a comparison
    return f"http://{host}:{port}"


def _end(line: str, *, healthy: bool) -> NoReturn:
    click.echo(line if healthy else f"unhealthy: {line}", err=not healthy)
    sys.exit(0 if healthy else 1)
