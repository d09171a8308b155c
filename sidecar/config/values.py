"""What single values must look like: addresses, mailboxes, names; and secrets with their files."""

import re
from urllib.parse import urlsplit

from sidecar.config.faults import Faults, Place
from sidecar.config.files import absolute, secret_file
from sidecar.config.nodes import Scalar
from sidecar.config.reader import Reader, parse_scalar
from sidecar.matchers import Matcher, parse_matcher
from sidecar.secret import Secret

# Prometheus' data model: a label's name, a metric's name.
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
# The HTML standard's e-mail grammar, and RFC 5322's display name before it.
_LETTERS = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = rf"{_LETTERS}(?:\.{_LETTERS})*@{_HOST}(?:\.{_HOST})*"
_MAILBOX = re.compile(rf'{_ADDRESS}|(?:"[^"\\\r\n]*"|[^"<>,@\r\n]+)\s*<{_ADDRESS}>')
_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/@]*)):(\d{1,5})")
_MAX_PORT = 65535
# A place in a config that is faulty anyway; nothing ever reveals it.
_STAND_IN = Secret("http://stand-in.invalid")


def is_field(text: str) -> bool:
    return _FIELD.fullmatch(text) is not None


def check_label(name: str, place: Place, faults: Faults, reserved: tuple[str, ...] = ()) -> bool:
    """Report a label name that Prometheus would refuse, or one of `reserved`."""
    if not _LABEL.fullmatch(name):
        hint = "letters, digits and underscores, no digit first"
        faults.error(place, f"`{name}` is not a label name", hint)
    elif name.startswith("__"):
        faults.error(place, f"label `{name}` is reserved", "names that begin with __ are internal")
    elif name in reserved:
        faults.error(place, f"label `{name}` is reserved", "it is set by the sidecar")
    else:
        return True
    return False


def check_metric(name: Scalar, faults: Faults) -> None:
    if not _METRIC.fullmatch(name.text):
        hint = "letters, digits, underscores and colons, no digit first"
        faults.error(name.place, f"`{name.text}` is not a metric name", hint)


def fields(scalars: tuple[Scalar, ...], faults: Faults) -> tuple[str, ...]:
    """Return names of event fields; each that is none is reported."""
    for scalar in scalars:
        check_field(scalar, faults)
    return tuple(scalar.text for scalar in scalars)


def check_field(scalar: Scalar, faults: Faults) -> None:
    if not is_field(scalar.text):
        hint = "a name, or names with dots between them"
        faults.error(scalar.place, f"`{scalar.text}` is not a field name", hint)


def read_matchers(reader: Reader, key: str) -> tuple[Matcher, ...]:
    """Return the matchers of a list, each one text such as `severity="critical"`."""
    found = (
        parse_scalar(scalar, "a matcher", parse_matcher, reader.faults)
        for scalar in reader.scalars(key)
    )
    return tuple(matcher for matcher in found if matcher is not None)


def split_host_port(text: str) -> tuple[str, int] | None:
    """Return host and port of `host:port`, `:port` or `[IPv6]:port`, or None if it is neither."""
    found = _HOST_PORT.fullmatch(text)
    if found is None or int(found[3]) > _MAX_PORT:
        return None
    return found[1] or found[2], int(found[3])


def parse_smarthost(text: str) -> tuple[str, int]:
    """Return host and port of a mail server. Raises ValueError."""
    address = split_host_port(text)
    if address is None or not all(address):
        raise ValueError(f"{text!r} is not host:port; write for example mail.example.com:587")
    return address


def parse_url(text: str) -> str:
    """Return `text` if it is an absolute http(s) URL. The ValueError never quotes it."""
    problem = ValueError("expected an http:// or https:// URL")
    if not text.isprintable() or " " in text:
        raise problem
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise problem from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise problem
    return text


def split_mailboxes(text: str) -> tuple[str, ...]:
    """Split at the commas that stand outside of quotes."""
    parts = re.findall(r'(?:"[^"]*"|[^,"]|")+', text)
    return tuple(part.strip() for part in parts if part.strip())


def parse_mailbox(text: str) -> str:
    """Return exactly one mailbox, `a@b.c` or `Name <a@b.c>`. Raises ValueError."""
    stripped = text.strip()
    if _MAILBOX.fullmatch(stripped):
        return stripped
    if len(split_mailboxes(stripped)) > 1:
        raise ValueError(f"{text!r} holds several mailboxes; exactly one can stand here")
    raise ValueError(f"{text!r} is not a mail address; write for example alerts@example.com")


def read_secret_pair(reader: Reader, key: str, *, url: bool = False) -> Secret | None:
    """Return the secret `key`, or the content of the file that `<key>_file` names, or None.

    One whose variables expand to nothing counts as not written, so that a shipped file can leave
    it to the environment. After a fault a stand-in keeps further faults from following from it.
    """
    twin = f"{key}_file"
    scalar, path = reader.scalar(key), reader.scalar(twin)
    if reader.has(key) and reader.has(twin):
        hint = "keep one of them"
        reader.faults.error(reader.key_place(twin), f"both `{key}` and `{twin}` are set", hint)
        return _STAND_IN
    if reader.has(twin):
        return _from_file(reader, path, url=url)
    if scalar is None:
        return _STAND_IN if reader.has(key) else None
    return _from_text(reader, key, scalar, url=url)


def _from_text(reader: Reader, key: str, scalar: Scalar, *, url: bool) -> Secret | None:
    if not scalar.text:
        if not scalar.expanded:
            reader.faults.error(scalar.place, f"`{key}` is empty", "remove the key")
        return None
    return _checked(Secret(scalar.text), reader, scalar.place, url=url)


def _from_file(reader: Reader, path: Scalar | None, *, url: bool) -> Secret | None:
    if path is None:
        return _STAND_IN
    if path.expanded and not path.text:
        return None
    secret = secret_file(absolute(path.place.file, path.text), reader.faults, path.place)
    return _STAND_IN if secret is None else _checked(secret, reader, path.place, url=url)


def _checked(secret: Secret, reader: Reader, place: Place, *, url: bool) -> Secret:
    if url:
        try:
            parse_url(secret.reveal())
        except ValueError as wrong:
            reader.faults.error(place, str(wrong))
    elif not secret.reveal().isprintable():
        reader.faults.error(place, "the secret holds line breaks or control characters")
    return secret
