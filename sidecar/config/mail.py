"""`email_configs` of a receiver."""

import re
from collections.abc import Mapping

from sidecar.config.defaults import MailDefaults
from sidecar.config.files import absolute, read_text
from sidecar.config.nodes import Listing, Scalar
from sidecar.config.reader import Reader, parse_scalar
from sidecar.config.slack import read_rate, read_template
from sidecar.config.templates import check_template
from sidecar.config.values import (
    parse_mailbox,
    parse_smarthost,
    read_secret_pair,
    split_mailboxes,
)
from sidecar.notify.model import EmailConfig

# RFC 5322, 2.2: printable ASCII without the colon; we keep to what is in use.
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
OURS = frozenset(
    {
        "from",
        "to",
        "cc",
        "bcc",
        "date",
        "message-id",
        "in-reply-to",
        "references",
        "auto-submitted",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
    }
)
_NOWHERE = ("", 0)
_DEFAULTS = EmailConfig(to=(), from_="", smarthost=_NOWHERE)


def read_email(reader: Reader, defaults: MailDefaults) -> EmailConfig:
    """Read one entry; what it does not say comes from `global:`."""
    reader.require("to")
    headers, subject = _headers(reader)
    skip_verify, ca_file = _tls(reader)
    config = EmailConfig(
        to=_recipients(reader),
        from_=reader.parsed("from", "a mail address", parse_mailbox, defaults.from_) or "",
        smarthost=reader.parsed("smarthost", "host:port", parse_smarthost, defaults.smarthost)
        or _NOWHERE,
        hello=reader.text("hello", defaults.hello),
        auth_username=reader.text("auth_username", defaults.auth_username),
        auth_password=read_secret_pair(reader, "auth_password") or defaults.auth_password,
        require_tls=reader.flag("require_tls", default=defaults.require_tls),
        tls_insecure_skip_verify=skip_verify,
        tls_ca_file=ca_file,
        send_resolved=reader.flag("send_resolved", default=True),
        subject=subject,
        text=read_template(reader, "text"),
        html=read_template(reader, "html"),
        headers=headers,
        rate=read_rate(reader, _DEFAULTS.rate),
    )
    _check_whole(reader, config)
    reader.close()
    return config


def _check_whole(reader: Reader, config: EmailConfig) -> None:
    for key, value in (("from", config.from_), ("smarthost", config.smarthost[0])):
        if not value and not reader.has(key):
            hint = f"set it here, or `smtp_{key}` in `global`"
            reader.faults.error(reader.place, f"`{key}` is missing", hint)
    if bool(config.auth_username) != (config.auth_password is not None):
        there, gone = "auth_username", "auth_password"
        if not config.auth_username:
            there, gone = gone, there
        message = f"`{there}` is set, but `{gone}` is not"
        reader.faults.error(
            reader.place, message, f"set `{gone}` here, or `smtp_{gone}` in `global`"
        )


def _recipients(reader: Reader) -> tuple[str, ...]:
    """Read `to`: Alertmanager's text with commas, or a list with one mailbox each."""
    node = reader.node("to")
    if isinstance(node, Listing):
        found = [
            parse_scalar(item, "one mail address", parse_mailbox, reader.faults)
            for item in reader.scalars("to")
        ]
        mailboxes = tuple(mailbox for mailbox in found if mailbox is not None)
    else:
        mailboxes = reader.parsed("to", "mail addresses", _parse_mailboxes, ())
    if isinstance(node, Listing) and not node.items:
        reader.faults.error(node.place, "`to` is empty", "name at least one mail address")
    return tuple(dict.fromkeys(mailboxes))


def _parse_mailboxes(text: str) -> tuple[str, ...]:
    mailboxes = tuple(map(parse_mailbox, split_mailboxes(text)))
    if not mailboxes:
        raise ValueError("`to` is empty; name at least one mail address")
    return mailboxes


def _headers(reader: Reader) -> tuple[Mapping[str, str], str | None]:
    """Return the headers without the subject, and the subject from either place."""
    found = reader.texts_by_name("headers")
    headers: dict[str, str] = {}
    subject = read_template(reader, "subject")
    for name, scalar in found.items():
        _check_header(name, scalar, reader)
        if name.lower() != "subject":
            headers[name] = scalar.text
        elif subject is None:
            subject = scalar.text
        else:
            reader.faults.error(scalar.place, "the subject is set twice", "keep `subject`")
    return headers, subject


def _check_header(name: str, scalar: Scalar, reader: Reader) -> None:
    if not _HEADER.fullmatch(name):
        reader.faults.error(scalar.place, f"`{name}` is not a header name")
    elif name.lower() in OURS:
        reader.faults.error(scalar.place, f"header `{name}` is set by the sidecar", "remove it")
    elif "\n" in scalar.text or "\r" in scalar.text:
        reader.faults.error(scalar.place, "a header cannot hold a line break")
    check_template(scalar, reader.faults)


def _tls(reader: Reader) -> tuple[bool, str]:
    inner = reader.table("tls_config")
    if inner is None:
        return False, ""
    skip_verify = inner.flag("insecure_skip_verify", default=False)
    scalar = inner.scalar("ca_file")
    inner.close()
    if scalar is None or not scalar.text:
        return skip_verify, ""
    read_text(absolute(scalar.place.file, scalar.text), reader.faults, scalar.place)
    return skip_verify, absolute(scalar.place.file, scalar.text)
