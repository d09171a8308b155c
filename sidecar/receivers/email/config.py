"""The keys of `email_configs`."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sidecar.notify.model import OWNER, Rate, ReceiverConfig
from sidecar.render.check import Template, TemplateText
from sidecar.syntax.faults import Wrong
from sidecar.syntax.table import Placed, Reading, Schema, Table, Value, key, table
from sidecar.syntax.tree import ListNode, MapNode, Node, Scalar, ScalarKind, text_of
from sidecar.syntax.values import (
    MAILBOX,
    Flag,
    MaybeFlag,
    ReadableFile,
    SecretText,
    Text,
    anchored,
    parse_mailbox,
    split_host_port,
    split_mailboxes,
    string,
    string_or_variable,
)

IMPLICIT_TLS_PORT = 465
_TO_OWNER = re.compile(r"\{\{ *owner_email *\}\}")
# RFC 5322, 2.2: printable ASCII without the colon; we keep to what is in use.
HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,74}")
_RESERVED = frozenset([
    "from", "to", "cc", "bcc", "date", "message-id", "in-reply-to", "references",
    "auto-submitted", "mime-version",
])  # fmt: skip
_TEMPLATE = "Jinja2 source."


def _smarthost(text: str) -> tuple[str, int]:
    address = split_host_port(text)
    if address is None or not all(address):
        raise ValueError(f"{text!r} is not host:port; write for example mail.example.com:587")
    return address


def _zone(text: str) -> str:
    try:
        return ZoneInfo(text).key
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise ValueError(f"{text!r} is no time zone; write for example Europe/Berlin") from None


def _recipient(text: str) -> str:
    """Return a mailbox, or what stands for an organisation's owner. Raises ValueError."""
    if _TO_OWNER.fullmatch(text.strip()):
        return OWNER
    if "{{" in text:
        raise Wrong(f"{text!r} is not a mail address", f"the one template here is '{OWNER}'")
    return parse_mailbox(text)


_A_MAILBOX = string_or_variable(anchored(MAILBOX))
_A_RECIPIENT = {"anyOf": [_A_MAILBOX, string(anchored(_TO_OWNER))]}
_MAILBOXES: Schema = {
    "anyOf": [
        string_or_variable(f"@|{anchored(_TO_OWNER)}"),
        {"type": "array", "items": _A_RECIPIENT, "minItems": 1},
    ]
}
Mailbox = Annotated[str, Value(parse_mailbox, "a mail address", _A_MAILBOX)]
Recipient = Annotated[str, Value(_recipient, "a mail address", _A_RECIPIENT)]
Zone = Annotated[str, Value(_zone, "a time zone", string_or_variable(r"^\S+$"))]


def _smarthosts(node: Node, reading: Reading) -> tuple[tuple[str, int], ...]:
    """Return the mail servers that are written in one text with commas, or in a list."""
    items = node.items if isinstance(node, ListNode) else _parts(text_of(node))
    found = []
    for item in items:
        with reading.reporting(item):
            found.append(_smarthost(text_of(item).text))
    if not items:
        raise Wrong("`smarthost` is empty", "name at least one mail server")
    return tuple(dict.fromkeys(found))


def _parts(scalar: Scalar) -> tuple[Scalar, ...]:
    return tuple(map(scalar.part, split_mailboxes(scalar.text)))


_ONE = r"[^\s,]+:\d{1,5}"
_HOST_PORTS: Schema = {
    "anyOf": [
        string_or_variable(rf"^{_ONE}(?:\s*,\s*{_ONE})*$"),
        {"type": "array", "items": string_or_variable(f"^{_ONE}$"), "minItems": 1},
    ]
}
Smarthosts = Annotated[tuple[tuple[str, int], ...], Placed(_smarthosts, _HOST_PORTS, ())]


def is_reserved(header: str) -> bool:
    """Tell whether a mail's header is the sidecar's to write; the name's case does not matter."""
    return header.lower() in _RESERVED or header.lower().startswith("content-")


def _check_header(name: str, scalar: Scalar) -> None:
    if not HEADER.fullmatch(name):
        raise Wrong(f"`{name}` is not a header name")
    if is_reserved(name):
        raise Wrong(f"header `{name}` is set by the sidecar", "remove it")
    if "\n" in scalar.text or "\r" in scalar.text:
        raise Wrong("a header cannot hold a line break")


def _any_case(word: str) -> str:
    return "".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in word)


_HELD = "|".join([*map(_any_case, sorted(_RESERVED)), _any_case("content-") + ".*"])
_HEADER_NAMES = {
    "propertyNames": {
        "type": "string",
        "pattern": anchored(HEADER),
        "not": {"pattern": f"^(?:{_HELD})$"},
    }
}


@table
class TlsConfig(Table):
    """How the mail server proves who it is."""

    ca_file: ReadableFile = key("Certificates to trust.", default="")
    insecure_skip_verify: Flag = key("Trust any certificate.", default=False)


@table
class EmailConfig(ReceiverConfig):
    """Mail through SMTP. `to` holds one mailbox each.

    `subject`, `text`, `html` and the values of `headers` are templates.
    """

    asks: ClassVar[tuple[tuple[str, ...], ...]] = (("to",), ("smarthost",))

    to: tuple[Recipient, ...] = key(
        "Mailboxes, in one text with commas or a list; or `'{{ owner_email }}'` alone, for the "
        "owner of the organisation.",
        schema=_MAILBOXES,
    )
    from_: Mailbox = key(
        "The sender's mailbox.", "from", global_="smtp_from", needed=True, default=""
    )
    smarthost: Smarthosts = key(
        "The mail server, host:port, or several: the next is tried where one is out of order.",
        global_="smtp_smarthost",
        needed=True,
        default=(),
    )
    hello: Text = key(
        "The name that greets the mail server.", global_="smtp_hello", default="localhost"
    )
    auth_username: Text = key(
        "User of the login; empty: no login.", global_="smtp_auth_username", default=""
    )
    auth_password: SecretText = key(
        "Password of the login.", global_="smtp_auth_password", default=None
    )
    require_tls: Flag = key(
        "STARTTLS, or no mail at all; false: neither mail nor login are encrypted.",
        global_="smtp_require_tls",
        default=True,
    )
    force_implicit_tls: MaybeFlag = key(
        "Whether the server speaks TLS from the start; not written: on port 465.",
        global_="smtp_force_implicit_tls",
        default=None,
    )
    tls_config: TlsConfig = key("How the mail server proves who it is.", default=TlsConfig())
    send_resolved: Flag = key("Also tell when alerts end.", default=True)
    subject: Template = key(_TEMPLATE, default=None)
    text: Template = key(_TEMPLATE, default=None)
    html: Template = key(_TEMPLATE, default=None)
    headers: Mapping[str, TemplateText] = key(
        "Added to each mail; the values are Jinja2 source.", schema=_HEADER_NAMES, default={}
    )
    timezone: Zone = key(
        "The zone of the instants in a mail, for example Europe/Berlin.", default="UTC"
    )
    rate: Rate = key(
        "What the mail server takes; the rest waits.", default=Rate(per_second=5.0, burst=20)
    )

    @property
    def folds(self) -> bool:
        return OWNER not in self.to

    def destinations(self) -> tuple[str, ...]:
        return self.to

    def account(self) -> tuple[str, str]:
        return (",".join(f"{host}:{port}" for host, port in self.smarthost), self.auth_username)

    def begins_with_tls(self, port: int) -> bool:
        """Tell whether the server at `port` speaks TLS before anything else."""
        if self.force_implicit_tls is None:
            return port == IMPLICIT_TLS_PORT
        return self.force_implicit_tls

    @classmethod
    def prepare(cls, values: dict[str, Node], reading: Reading) -> None:
        cls.leave_out_if_off(values, reading)
        to, headers = values.get("to"), values.get("headers")
        if isinstance(to, Scalar) and to.kind is ScalarKind.TEXT and not to.faulty:
            values["to"] = to = ListNode(to.place, _parts(to))
        if isinstance(to, ListNode) and not to.items:
            reading.faults.error(to.place, "`to` is empty", "name at least one mail address")
        if not isinstance(headers, MapNode):
            return
        for name, scalar in headers.values.items():
            with reading.reporting(scalar):
                _check_header(name, text_of(scalar))
            if name.lower() == "subject":
                rest = {key: value for key, value in headers.values.items() if key != name}
                values["headers"] = MapNode(headers.place, rest, headers.places)
                if values.setdefault("subject", scalar) is not scalar:
                    reading.faults.error(scalar.place, "the subject is set twice", "keep `subject`")

    def check(self, reading: Reading) -> "EmailConfig":
        there, gone = "auth_username", "auth_password"
        if bool(self.auth_username) != (self.auth_password is not None):
            if not self.auth_username:
                there, gone = gone, there
            message = f"`{there}` is set, but `{gone}` is not"
            hint = f"set `{gone}` here, or `smtp_{gone}` in `global`"
            reading.error(self, "", message, hint)
        open_ones = [host for host, port in self.smarthost if not self.begins_with_tls(port)]
        if self.auth_username and not self.require_tls and any(map(_is_elsewhere, open_ones)):
            message = "the login goes to the mail server unencrypted"
            hint = "without `require_tls: false` it is encrypted, or nothing is sent"
            reading.faults.warning(reading.place(self, "require_tls"), message, hint)
        to = tuple(dict.fromkeys(self.to))
        if OWNER not in to:
            return replace(self, to=to)
        if len(to) > 1:
            message = "an organisation's owner is mailed in other words than anybody else"
            reading.error(self, "to", message, f"give '{OWNER}' an entry of its own")
        if self.send_resolved and "send_resolved" in reading.node(self).values:
            message = "an organisation's owner is told of no end"
            reading.error(self, "send_resolved", message, "remove it")
        return replace(self, to=to, send_resolved=False)


def _is_elsewhere(host: str) -> bool:
    """Tell whether what is sent to `host` leaves this machine."""
    return host != "localhost" and not host.startswith("127.") and host != "::1"
