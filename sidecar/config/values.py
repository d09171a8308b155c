"""What single values must look like: addresses, mailboxes, names; and secrets with their files."""

import re
from urllib.parse import urlsplit

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
