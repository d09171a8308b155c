"""The entries of `sources`: logs to read, webhooks to take, and the provider's API to ask."""

import base64
import binascii
import re
from typing import Annotated, ClassVar
from zoneinfo import ZoneInfo

from sidecar.config.http import TlsServerConfig
from sidecar.parse.event import LogFormat
from sidecar.secret import Secret
from sidecar.syntax.faults import Reported, Wrong
from sidecar.syntax.files import absolute, absolute_glob
from sidecar.syntax.table import Nested, Placed, Reading, Schema, Table, Value, key, table
from sidecar.syntax.tree import Node, text_of
from sidecar.syntax.values import (
    Field,
    Flag,
    Listen,
    MaybeRe2,
    MaybeUrl,
    Positive,
    SecretText,
    Url,
    anchored,
    choice,
    shaped,
    string,
)


def _glob(node: Node, _: Reading) -> str:
    scalar = text_of(node)
    if not scalar.text or "\0" in scalar.text:
        raise Wrong("`path` is empty")
    return "-" if scalar.text == "-" else absolute_glob(scalar.place.file, scalar.text)


def _secrets(node: Node, reading: Reading) -> tuple[Secret, ...]:
    """Return the secrets in the file that is named, one a line."""
    scalar = text_of(node)
    found = reading.files.secret(absolute(scalar.place.file, scalar.text), scalar.place)
    if found is None:
        raise Reported
    lines = [line.strip() for line in found.reveal().splitlines()]
    return tuple(Secret(line) for line in lines if line)


def signing_key(text: str) -> bytes:
    """Return the key that a `whsec_…` secret of Standard Webhooks holds.

    The ValueError never quotes it.
    """
    try:
        return base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        raise Wrong("a secret of Standard Webhooks is `whsec_` and base64") from None


def _zone(text: str) -> str:
    try:
        return ZoneInfo(text).key if text else ""
    except (KeyError, OSError, ValueError) as wrong:  # as zoneinfo raises them
        raise Wrong(f"`{text}` is not a time zone", "write for example Europe/Berlin") from wrong


_PATH = re.compile(r"/[A-Za-z0-9._~/-]*")
_PROVIDER = re.compile(r"[a-z][a-z0-9_-]{0,63}")
Glob = Annotated[str, Placed(_glob, string(minLength=1))]
Format = Annotated[LogFormat, choice(LogFormat, LogFormat)]
StartAt = Annotated[bool | None, choice(("end", "beginning"), "beginning".__eq__)]
Secrets = Annotated[tuple[Secret, ...], Placed(_secrets, string(), stand_in=())]
UrlPath = Annotated[
    str, Value(shaped(_PATH, "the path of a URL"), "a path", string(anchored(_PATH)))
]
Provider = Annotated[
    str, Value(shaped(_PROVIDER, "a provider's name"), "a name", string(anchored(_PROVIDER)))
]
Fields = tuple[Field, ...]


_ORG_ID = (
    "Where an event's object has the organisation: the first that is there, else the customer's id."
)
_KEEP = "Further fields of an event's object to keep, by allow-list."


@table
class Webhook(Table):
    """What both kinds of webhooks have in common. `scheme`: how they are signed."""

    scheme: ClassVar[str] = ""
    default_provider: ClassVar[str] = ""

    listen: Listen = key("host:port, of its own: what the internet may reach.")
    path: UrlPath = key("The path that is posted to.")
    secrets: Secrets = key("A file with the signing secrets, one a line: rolling.", "secrets_file")
    tolerance: Positive = key(
        "How far the time of a signature may be from now, before or after.", default=300.0
    )
    livemode: Flag = key(
        "Events of the other mode are answered with 200, counted and dropped.", default=True
    )
    org_id: Fields = key(_ORG_ID, default=())
    keep: Fields = key(_KEEP, default=())
    tls_server_config: Annotated[TlsServerConfig | None, Nested(lambda: TlsServerConfig)] = key(
        "TLS, as of `http`; without it, plain behind a proxy that ends TLS.", default=None
    )

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys by which a body may be signed."""
        return tuple(secret.reveal().encode() for secret in self.secrets)

    @property
    def provider_name(self) -> str:
        return self.default_provider


@table
class StripeWebhook(Webhook):
    scheme: ClassVar[str] = "stripe"
    default_provider: ClassVar[str] = "stripe"


@table
class SignedWebhook(Webhook):
    """Signed by the Standard Webhooks scheme."""

    scheme: ClassVar[str] = "standard"

    provider: Provider = key("Whose they are: what the field `webhook_provider` says.")

    @property
    def keys(self) -> tuple[bytes, ...]:
        return tuple(signing_key(secret.reveal()) for secret in self.secrets)

    @property
    def provider_name(self) -> str:
        return self.provider

    def check(self, reading: Reading) -> "SignedWebhook":
        for secret in self.secrets:
            try:
                signing_key(secret.reveal())
            except Wrong as wrong:
                reading.error(self, "secrets_file", str(wrong))
        return self


@table
class StripeApi(Table):
    """Stripe asked every `interval` for what it could not deliver."""

    api_key: SecretText = key(
        "A restricted key that may read events and webhook endpoints.", default=None
    )
    url: Url = key("Stripe's API, or a stand-in for it.", default="https://api.stripe.com")
    interval: Positive = key("How often to ask.", default=60.0)
    endpoint: MaybeUrl = key(
        "The URL of the webhook endpoint whose delivery is watched.", default=None
    )
    org_id: Fields = key(_ORG_ID, default=())
    keep: Fields = key(_KEEP, default=())

    def check(self, reading: Reading) -> "StripeApi":
        if self.api_key is None:
            reading.error(self, "", "`api_key_file` is missing")
        if self.endpoint is None:
            reading.error(self, "", "`endpoint` is missing")
        return self


_OTHERS = ("stripe_api", "stripe_webhook", "signed_webhook")


@table
class Source(Table):
    """One entry of `sources`. `path` is an absolute glob, or "-" for stdin.

    `from_beginning` concerns only files that exist at the very first start or, where it is written,
    when a reload adds the source; None: not written. An entry without a path is one of the others.
    """

    schema: ClassVar[Schema] = {
        "oneOf": [
            {"required": ["path"], "properties": dict.fromkeys(_OTHERS, False)},
            *({"required": [other], "maxProperties": 1} for other in _OTHERS),
        ]
    }

    path: Glob = key("A glob; rotated siblings are found by themselves; `-` is stdin.", default="")
    format: Format = key(
        "How lines are wrapped: `plain`, `docker` or `cri`; `auto` recognises each.",
        default=LogFormat.AUTO,
    )
    from_beginning: StartAt = key(
        "`end` or `beginning`: where to start in files that exist at the very first start (`end`), "
        "or when a reload adds the source (`beginning`).",
        "start_at",
        default=None,
    )
    prefix: MaybeRe2 = key(
        "RE2, matching all that stands before an event in its line; else what loggers put there.",
        default=None,
    )
    timezone: Annotated[str, Value(_zone, "a time zone", string())] = key(
        "The IANA zone of times that state none, or a name of several (IST); UTC if not written.",
        default="",
    )
    stripe_webhook: Annotated[StripeWebhook | None, Nested(lambda: StripeWebhook)] = key(
        "Stripe's webhooks, taken by a listener of its own.", default=None
    )
    signed_webhook: Annotated[SignedWebhook | None, Nested(lambda: SignedWebhook)] = key(
        "Webhooks that are signed by the Standard Webhooks scheme, taken in the same way.",
        default=None,
    )
    stripe_api: Annotated[StripeApi | None, Nested(lambda: StripeApi)] = key(
        "What Stripe could not deliver, asked for at its API.", default=None
    )
    secret: SecretText = key(
        "Takes only lines with an HMAC under it, as sidecar/host/webhook_metric.py writes them.",
        "key",
        default=None,
    )

    @property
    def key(self) -> bytes:
        """The secret under which lines have to be signed; empty where none has to."""
        return b"" if self.secret is None else self.secret.reveal().encode("utf-8", "replace")

    @property
    def webhook(self) -> Webhook | None:
        return self.stripe_webhook or self.signed_webhook

    def check(self, reading: Reading) -> "Source":
        written = reading.node(self).values
        others = [name for name in _OTHERS if name in written]
        if not others and "path" not in written:
            reading.error(self, "", "`path` is missing", f"or one of {', '.join(_OTHERS)}")
        elif others and len(written) > 1:
            message = f"`{others[0]}` stands alone in its entry of `sources`"
            reading.error_at_key(self, others[0], message, "give each an entry of its own")
        return self
