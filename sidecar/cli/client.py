"""Asking a running daemon, for the commands that do: over its admin socket, else over HTTP.

`sidecar healthcheck` stands here, for containers without curl: it imports nothing more.
"""

import getpass
import http.client
import os
import socket
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import click
import msgspec

from sidecar.cli import CONFIG_FILES, as_utf8, default_config
from sidecar.cli.output import say
from sidecar.syntax.faults import ConfigError
from sidecar.syntax.files import read_secret
from sidecar.web.fault import short_name

if TYPE_CHECKING:
    from sidecar.config.http import Http

DEFAULT_URL = "http://127.0.0.1:9787"
TIMEOUT_SECONDS = 30.0
HEALTHY_PATH = "/-/healthy"
HEALTH_TIMEOUT_SECONDS = 3.0
PROBLEM, CANNOT = 1, 2
_SCHEMES: dict[str, type[http.client.HTTPConnection]] = {
    "http": http.client.HTTPConnection,
    "https": http.client.HTTPSConnection,
}
_Command = Callable[..., None]
config_option = click.option(
    "-c",
    "--config",
    "path",
    help="Where the daemon is found: http.admin_socket, http.listen, the token.  "
    f"[default: {' or '.join(CONFIG_FILES)}]",
)


def options(command: _Command) -> _Command:
    """Give a command the options that say where a daemon is and how it is asked: its `client`."""

    @wraps(command)
    def asking(*, url: str | None, path: str | None, token_file: str | None, **given: Any) -> None:
        command(client=Client(url, path, token_file), **given)

    for option in (
        click.option("--token-file", help="File with the bearer token, for beyond loopback."),
        config_option,
        click.option("--url", help="Ask here, and not over the admin socket."),
    ):
        asking = option(asking)
    return asking


def table_or_json(command: _Command) -> _Command:
    """Give a command that lists things the option that says in which form."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="json: one object a line.",
    )(command)


def pairs(texts: Iterable[str], shape: str) -> dict[str, str]:
    """Return what `NAME=VALUE` arguments say; one that does not look like `shape` ends the call."""
    found = {}
    for text in map(as_utf8, texts):
        name, equals, found[name] = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{text!r} is not {shape}")
    return found


def user() -> str:
    """Return who asks, as the system knows them; messages say so."""
    try:
        return as_utf8(getpass.getuser()[:100])
    except (OSError, KeyError):  # a container's user may have no name
        return ""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        with short_name(self._path) as short:
            self.sock.connect(short)


class Daemon:
    """Where one daemon is asked: by `url`, or where the configuration at `path` says.

    Raises ConfigError, OSError and ValueError where that cannot be told.
    """

    def __init__(
        self, url: str | None, path: str | None, keys: tuple[str, ...], timeout: float
    ) -> None:
        if path is None and not url and Path(found := default_config()).is_file():
            path = found
        asked = keys if url else ("listen", "admin_socket", *keys)
        http = _configured(path, asked) if path else None
        self.token = http.token if http else None
        self._socket = http.admin_socket if http else ""
        self.url = (url or (reachable(http) if http else DEFAULT_URL)).rstrip("/")
        self._parts = urlsplit(self.url)
        self._timeout = timeout
        if self._parts.scheme not in _SCHEMES or not self._parts.hostname:
            raise ValueError(f"{self.url!r} is not a URL such as {DEFAULT_URL}")
        _ = self._parts.port  # raises for one that is no number

    @property
    def path(self) -> str:
        """The path that the URL itself has."""
        return self._parts.path

    def ask(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        """Return status and body; raises OSError, ValueError and HTTPException."""
        connection = self._connected()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _connected(self) -> http.client.HTTPConnection:
        if self._socket:
            connection = UnixConnection(self._socket, self._timeout)
            try:
                connection.connect()
            except OSError:  # not there, or another user's
                connection.close()
            else:
                return connection
        kind, host = _SCHEMES[self._parts.scheme], self._parts.hostname or ""
        return kind(host, self._parts.port, timeout=self._timeout)


def _configured(path: str, keys: tuple[str, ...]) -> "Http":
    from sidecar.config.http import read_http  # noqa: PLC0415 - YAML, for those who have a file

    return read_http(path, os.environ, *keys)


def reachable(http: "Http") -> str:
    """Return the URL of what listens; every address means this machine's own."""
    host, port = http.listen
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a comparison
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Client:
    """One daemon; each method ends the command with one line when it gets no good answer.

    `config` is the path that -c gives, if it is given.
    """

    def __init__(self, url: str | None, config: str | None, token_file: str | None) -> None:
        self.config = config
        self._url = url
        self._token_file = token_file

    def get(self, path: str) -> dict[str, Any]:
        return self._ask("GET", path, None)

    def post(self, path: str, content: Any) -> dict[str, Any]:
        return self._ask("POST", path, msgspec.json.encode(content))

    def _ask(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        try:
            keys = () if self._token_file else ("token",)
            daemon = Daemon(self._url, self.config, keys, TIMEOUT_SECONDS)
            kept = daemon.token and daemon.token.reveal()
            if token := read_secret(self._token_file) if self._token_file else kept:
                headers["Authorization"] = f"Bearer {token}"
        except (ConfigError, OSError, ValueError) as wrong:
            end(f"cannot tell where and how to ask: {wrong}", CANNOT)
        try:
            status, text = daemon.ask(method, path, body, headers)
        except (OSError, ValueError, http.client.HTTPException) as failure:
            end(f"no answer from {daemon.url}: {failure}; does the daemon run?", CANNOT)
        return self._understood(daemon.url, status, text)

    def _understood(self, url: str, status: int, text: bytes) -> dict[str, Any]:
        try:
            answer = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            answer = {}
        if status != http.client.OK or not answer:
            first_line = text.decode(errors="replace").partition("\n")[0][:500]
            sentence = f"{url} answers {status}: {first_line}"
            sentence = str(answer.get("error", "")) or sentence
            refused = status in (http.client.BAD_REQUEST, http.client.NOT_FOUND) and answer
            end(sentence, PROBLEM if refused else CANNOT)
        return answer


def end(sentence: str, code: int) -> NoReturn:
    """Say one sentence on stderr and exit."""
    say(f"sidecar: {sentence}", err=True)
    sys.exit(code)


@click.command()
@click.option("--url", help=f"Where the daemon listens; a path in it replaces {HEALTHY_PATH}.")
@config_option
def healthcheck(url: str | None, path: str | None) -> None:
    """Exit 0 if the daemon answers that it is healthy, else 1."""
    try:
        daemon = Daemon(url, path, (), HEALTH_TIMEOUT_SECONDS)
    except (ConfigError, OSError, ValueError) as wrong:
        _end_with(f"cannot tell where the daemon listens: {wrong}", healthy=False)
    try:
        status, text = daemon.ask("GET", daemon.path or HEALTHY_PATH, None, {})
    except (OSError, ValueError, http.client.HTTPException) as failure:
        _end_with(f"no answer from {daemon.url}: {failure}; does the daemon run?", healthy=False)
    answer = text[:1000].decode(errors="replace").partition("\n")[0]
    healthy = status == http.client.OK
    _end_with(answer if healthy else f"{daemon.url} answers {status}: {answer}", healthy=healthy)


def _end_with(line: str, *, healthy: bool) -> NoReturn:
    say(line if healthy else f"unhealthy: {line}", err=not healthy)
    sys.exit(0 if healthy else 1)
