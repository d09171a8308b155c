"""Mail through SMTP.

`config` has the keys, `message` makes the mail, `send` hands it to the mail server.
"""

from contextlib import AbstractAsyncContextManager

from sidecar.receivers.base import Kind, Send
from sidecar.receivers.email.config import EmailConfig
from sidecar.receivers.email.message import MailText, render


def _connect() -> AbstractAsyncContextManager[Send[EmailConfig, MailText]]:
    from sidecar.receivers.email.send import connected  # noqa: PLC0415 - aiosmtplib, only to send

    return connected()


EMAIL = Kind(
    name="email",
    section="email_configs",
    doc="Mailboxes.",
    config=EmailConfig,
    at_once=8,
    render=render,
    connect=_connect,
)
