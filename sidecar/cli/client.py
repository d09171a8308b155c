"""Asking a running daemon over its HTTP API, for the commands that do."""

import http.client
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import urlsplit

import click
import msgspec

from sidecar.cli.healthcheck import DEFAULT_URL, reachable
from sidecar.cli.output import say
from sidecar.config.http import Http, read_http
from sidecar.syntax.faults import ConfigError
from sidecar.syntax.files import read_secret

TIMEOUT_SECONDS = 30.0
PROBLEM, CANNOT = 1, 2
_Command = Callable[..., None]


def options(command: _Command) -> _Command:
    """Give a command the options that say where the daemon is and how it is asked."""
    for option in (
        click.option("--token-file", help="File with the bearer token, for beyond loopback."),
        click.option("-c", "--config", "path", help="Take http.listen and the token from here."),
        click.option("--url", help=f"Where the daemon listens.  [default: {DEFAULT_URL}]"),
    ):
        command = option(command)
    return command


class Client:
    """One daemon; each method ends the command with one line when it gets no good answer."""

    def __init__(self, url: str | None, path: str | None, token_file: str | None) -> None:
        try:
            keys = (*([] if url else ["listen"]), *([] if token_file else ["token"]))
            http = read_http(path, os.environ, *keys) if path else Http()
            self._url = (url or reachable(http)).rstrip("/")
            token = http.token.reveal() if http.token else ""
            self._token = read_secret(token_file) if token_file else token
            parts = urlsplit(self._url)
            self._host, self._port = parts.hostname, parts.port or 80
        except (ConfigError, OSError, ValueError) as wrong:
            end(f"cannot tell where and how to ask: {wrong}", CANNOT)
        if parts.scheme != "http" or not self._host:
            end(f"{self._url!r} is not a URL such as {DEFAULT_URL}", CANNOT)

    def get(self, path: str) -> dict[str, Any]:
        return self._ask("GET", path, None)

    def post(self, path: str, content: Any) -> dict[str, Any]:
        return self._ask("POST", path, msgspec.json.encode(content))

    def _ask(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        connection = http.client.HTTPConnection(self._host or "", self._port, TIMEOUT_SECONDS)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, ValueError, http.client.HTTPException) as failure:
            end(f"no answer from {self._url}: {failure}; does the daemon run?", CANNOT)
        finally:
            connection.close()
        return self._understood(answer.status, text)

    def _understood(self, status: int, text: bytes) -> dict[str, Any]:
        try:
            answer = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            answer = {}
        if status != http.client.OK or not answer:
            first_line = text.decode(errors="replace").partition("\n")[0][:500]
            sentence = str(answer.get("error", "")) or f"{self._url} answers {status}: {first_line}"
            refused = status in (http.client.BAD_REQUEST, http.client.NOT_FOUND) and answer
            end(sentence, PROBLEM if refused else CANNOT)
        return answer


def end(sentence: str, code: int) -> NoReturn:
    """Say one sentence on stderr and exit."""
    say(f"sidecar: {sentence}", err=True)
    sys.exit(code)
