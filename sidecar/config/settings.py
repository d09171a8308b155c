"""The plain sections of `sidecar.yaml`: sources, files, state, http, redaction."""

import glob
from os.path import realpath
from pathlib import Path

from sidecar.config.files import absolute, absolute_glob, matching
from sidecar.config.model import Source
from sidecar.config.nodes import Scalar
from sidecar.config.reader import Reader, parse_scalar
from sidecar.config.templates import check_template_file, shipped_templates
from sidecar.config.values import read_secret_pair, split_host_port
from sidecar.matchers import compile_re2
from sidecar.notify.redact import RedactPolicy
from sidecar.parse.event import LogFormat
from sidecar.secret import Secret

_STDIN = "-"
_STATE_PATH = "/var/lib/sidecar/state.db"
_LISTEN = ("0.0.0.0", 9787)  # noqa: S104 - beyond loopback only /metrics and health are open
_EVERY_INTERFACE = "0.0.0.0"  # noqa: S104 - same
_REDACT = RedactPolicy()
_SHORTEST_CUT = 20  # a value cut shorter than its own marker helps nobody


def read_sources(root: Reader) -> tuple[Source, ...]:
    """Read `sources:`; at least one, each path once."""
    sources: list[Source] = []
    for reader in root.tables("sources"):
        source = _source(reader)
        if source.path in {other.path for other in sources}:
            place = reader.place_of("path")
            root.faults.error(place, "two sources have this path", "each line would count twice")
        elif source.path:
            sources.append(source)
    if root.has("sources") and not root.items("sources"):
        hint = "name at least one log file: - path: /var/log/webhook/*.log"
        root.faults.error(root.place_of("sources"), "`sources` is empty", hint)
    return tuple(sources)


def _source(reader: Reader) -> Source:
    reader.require("path")
    path = _source_path(reader)
    format_ = LogFormat(reader.choice("format", LogFormat, LogFormat.AUTO))
    start_at = reader.choice("start_at", ("end", "beginning"), "end")
    reader.close()
    return Source(path=path, format=format_, from_beginning=start_at == "beginning")


def _source_path(reader: Reader) -> str:
    scalar = reader.scalar("path")
    if scalar is None:
        return ""
    if not scalar.text or "\0" in scalar.text:
        reader.faults.error(scalar.place, "`path` is empty")
        return ""
    return _STDIN if scalar.text == _STDIN else absolute_glob(scalar.place.file, scalar.text)


def named_files(root: Reader, key: str) -> list[str]:
    """Return the files that a list of globs names, each glob's files sorted, each file once.

    A glob without any file is an error: rules that are not there alert nobody.
    """
    found: dict[str, str] = {}
    for scalar in root.scalars(key):
        for path in _matching(scalar, root):
            found.setdefault(realpath(path), path)
    return list(found.values())


def _matching(scalar: Scalar, root: Reader) -> list[str]:
    paths = [] if "\0" in scalar.text else matching(scalar.place.file, scalar.text)
    if not paths:
        what = "matches no file" if glob.has_magic(scalar.text) else "does not exist"
        hint = "paths are relative to this file"
        root.faults.error(scalar.place, f"{scalar.written} {what}", hint)
    return paths


def read_templates(root: Reader) -> dict[str, str]:
    """Return the shipped templates with the user's laid over them, by base name."""
    templates = shipped_templates()
    own: dict[str, str] = {}
    for path in named_files(root, "template_files"):
        name = Path(path).name
        if name in own:
            place = root.place_of("template_files")
            message = f"two template files are called {name}"
            root.faults.error(place, message, f"{own[name]} and {path}")
            continue
        own[name] = path
        source = check_template_file(path, root.faults)
        if source is not None:
            templates[name] = source
    return templates


def read_state_path(root: Reader) -> str:
    """Read `state: {path}` as an absolute path."""
    reader = root.table("state")
    if reader is None:
        return _STATE_PATH
    path = reader.text("path", _STATE_PATH)
    reader.close()
    return absolute(root.place.file, path)


def read_http(root: Reader) -> tuple[tuple[str, int], Secret | None]:
    """Read `http: {listen, token}`; an address without a host means every interface."""
    reader = root.table("http")
    if reader is None:
        return _LISTEN, None
    listen = reader.parsed("listen", "host:port", _parse_listen, _LISTEN)
    token = read_secret_pair(reader, "token")
    reader.close()
    return listen, token


def _parse_listen(text: str) -> tuple[str, int]:
    address = split_host_port(text)
    if address is None:
        raise ValueError(f"{text!r} is not host:port; write for example 127.0.0.1:9787")
    return address[0] or _EVERY_INTERFACE, address[1]


def read_redact(root: Reader) -> RedactPolicy:
    reader = root.table("redact")
    if reader is None:
        return _REDACT
    patterns = reader.scalars("patterns")
    for scalar in patterns:
        parse_scalar(scalar, "an RE2 pattern", compile_re2, reader.faults)
    policy = RedactPolicy(
        keys=tuple(scalar.text for scalar in reader.scalars("keys")),
        patterns=tuple(scalar.text for scalar in patterns),
        max_length=reader.whole("max_length", _REDACT.max_length, least=_SHORTEST_CUT),
    )
    reader.close()
    return policy
