"""Redaction: what leaves the process or is stored goes through here first.

A secret is known by the name that holds it, or by its shape anywhere in a text.
"""

import binascii
import math
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import re2

from sidecar.matchers import compile_re2
from sidecar.syntax.table import Table, key, table
from sidecar.syntax.values import Cut, Re2, Text

REDACTED = "***REDACTED***"

_SECRET_NAMES = frozenset((
    "account_number", "api_key", "apikey", "auth", "authorization", "bank_account", "card_cvc",
    "card_number", "cardnumber", "cc_number", "client_secret", "cookie", "credentials",
    "credit_card", "cvc", "cvc2", "cvv", "cvv2", "dsn", "iban", "jwt", "otp", "pan", "passcode",
    "passphrase", "passwd", "password", "pin", "private_key", "proxy_authorization", "pwd",
    "secret", "security_code", "session_cookie", "set_cookie", "signature", "signing_key",
    "social_security_number", "ssn", "stripe_signature", "tax_id", "token", "webhook_url",
    "x_api_key",
))  # fmt: skip
_SECRET_ENDINGS = (
    "_token", "_secret", "_password", "_passwd", "_pwd", "_passphrase", "_passcode",
    "_credentials", "_authorization", "_signature", "_key", "_apikey", "_card_number", "_cvc",
    "_cvv", "_otp", "_pin", "_iban", "_ssn", "_cookie",
)  # fmt: skip
# Names that end in `_key` or `_token` but name or count things; hiding them would only hurt.
_INNOCENT = frozenset((
    "cache_key", "dedup_key", "foreign_key", "group_key", "idempotency_key", "issue_key",
    "lookup_key", "object_key", "page_token", "next_page_token", "partition_key", "primary_key",
    "project_key", "public_key", "publishable_key", "routing_key", "s3_key", "sort_key",
))  # fmt: skip


def plain_name(name: str) -> str:
    """Return a key in one spelling: `clientSecret`, `Client-Secret` -> `client_secret`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[:200])
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def is_secret_name(name: str) -> bool:
    """Return whether a key, as `plain_name` has it, names a secret."""
    if name in _INNOCENT:
        return False
    return name in _SECRET_NAMES or name.endswith(_SECRET_ENDINGS)


def _hide_all(found: re.Match[str]) -> str:
    return REDACTED if found[0] else ""


@dataclass(frozen=True, slots=True)
class SecretShape:
    """A pattern, and what to put in place of what it finds."""

    regex: re2._Regexp
    replace: Callable[[re.Match[str]], str] = _hide_all

    def hide(self, text: str) -> str:
        hidden: str = self.regex.sub(self.replace, text)
        return hidden


def _keep_first(found: re.Match[str]) -> str:
    return found[1] + REDACTED


def _hide_basic(found: re.Match[str]) -> str:
    """Hide what is user:password in base64; `basic information` is none."""
    encoded = found[2].rstrip("=")
    try:
        plain = b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_")
    except (binascii.Error, ValueError):
        return found[0]
    return found[1] + REDACTED if b":" in plain else found[0]


def _mask_mail(found: re.Match[str]) -> str:
    """Leave the first letter and the domain: `o***@example.com`.

    Some signs may be part of a name, but in logs they stand before it: `email=olga@example.com`.
    """
    name, domain = found[1], found[2]
    if name.endswith("***"):
        return found[0]
    start = max(name.rfind(sign) for sign in "=&/?'`{|!#$^~") + 1
    start = start if start < len(name) else 0
    return f"{name[: start + 1]}***@{domain}"


def _hide_cards(found: re.Match[str]) -> str:
    """Hide each run of digit groups that is a card number by its length, issuer and checksum."""
    parts = re.split(r"([ -])", found[0])
    groups, gaps = parts[::2], [*parts[1::2], ""]
    out, at = "", 0
    while at < len(groups):
        end = _card_end(groups, at)
        out += (REDACTED if end else groups[at]) + gaps[(end or at + 1) - 1]
        at = end or at + 1
    return out


def _card_end(groups: list[str], start: int) -> int:
    """Return the index after the groups that from `start` on make a card number, or 0."""
    digits = ""
    for index in range(start, len(groups)):
        digits += groups[index]
        if len(digits) > _LONGEST_CARD:
            return 0
        if len(digits) >= _SHORTEST_CARD and _ISSUER.match(digits) and _luhn(digits):
            return index + 1
    return 0


def _luhn(digits: str) -> bool:
    """Return whether the checksum of ISO/IEC 7812-1 (Luhn's) holds."""
    doubled = (int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits)))
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0  # noqa: PLR2004 - two digits' sum


_SHORTEST_CARD, _LONGEST_CARD = 13, 19
# First digits that card issuers use (ISO/IEC 7812): no epoch time begins so.
_ISSUER = re.compile(r"3[0-9]|4|5[0-9]|6[0-9]|2[2-7]")

_NAMES_IN_TEXT = (
    r"(?:[a-z0-9]+[_-])*(?:password|passwd|pwd|passphrase|secret|token|api[_-]?key|secret[_-]?key"
    r"|private[_-]?key|access[_-]?key|signing[_-]?key|authorization|cvc|cvv|credentials)"
)

_MAIL_ADDRESS = SecretShape(
    compile_re2(
        r"([\pL\pN.!#$%&\'*+/=?^_`{|}~-]+)@([\pL\pN](?:[\pL\pN.-]*[\pL\pN])?\.[\pL\pN]{2,})"
    ),
    _mask_mail,
)

# Order matters: what is long and framed goes first, or a part of it would be taken for the whole.
SHAPES = (
    # PEM blocks, also one that is cut off, or has its newlines escaped
    SecretShape(compile_re2(r"(?s)-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\z)")),
    # Slack's incoming webhooks: the URL is the secret
    SecretShape(compile_re2(r"(?i)https?://hooks\.slack(?:-gov)?\.com/[^\s\"'<>|)\]}]*")),
    # user:password in a URL
    SecretShape(
        compile_re2(r"(?i)([a-z][a-z0-9+.-]*://)[^\s/?#\"'<>]*@"), lambda m: f"{m[1]}{REDACTED}@"
    ),
    # secrets in a query
    SecretShape(
        compile_re2(
            r"(?i)([?&](?:[a-z0-9]+[_-])*(?:token|key|secret|password|passwd|sig|signature|auth|code)=)"
            r"[^&\s\"'<>#]+"
        ),
        _keep_first,
    ),
    # Authorization headers
    SecretShape(compile_re2(r"(?i)(\bbearer[ :=]+)[a-z0-9._~+/=-]{6,}"), _keep_first),
    SecretShape(compile_re2(r"(?i)(\bbasic +)([a-z0-9+/_-]{8,}={0,2})"), _hide_basic),
    # Stripe
    SecretShape(compile_re2(r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]+|whsec_[A-Za-z0-9+/=]+")),
    SecretShape(compile_re2(r"(?:pi|seti|cs|cuss)_[A-Za-z0-9_]+_secret_[A-Za-z0-9]+")),
    # Slack, GitHub, GitLab, AWS, Google, SendGrid, OpenAI and Anthropic, npm
    SecretShape(compile_re2(r"xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]+|xapp-[A-Za-z0-9-]+")),
    SecretShape(
        compile_re2(r"gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[\w-]{16,}")
    ),
    SecretShape(compile_re2(r"(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{35}|ya29\.[\w-]{16,}")),
    SecretShape(compile_re2(r"\bSG\.[\w-]{16,}\.[\w-]{16,}|\bsk-[\w-]{20,}|npm_[A-Za-z0-9]{36}")),
    # JSON web tokens
    SecretShape(compile_re2(r"eyJ[\w-]{6,}\.[\w-]{6,}(?:\.[\w-]*)?")),
    # name=value and "name": "value" in a text
    SecretShape(
        compile_re2(rf"(?i)(\b{_NAMES_IN_TEXT}\\?[\"']?\s*[=:]\s*\\?[\"']?)[^\s\"',;&{{}}\[\]\\]+"),
        _keep_first,
    ),
    # card numbers, in groups or not
    SecretShape(compile_re2(r"[0-9](?:[ -]?[0-9]){12,}"), _hide_cards),
    _MAIL_ADDRESS,
)


def is_secret_text(text: str) -> bool:
    """Return whether some part of `text` has a secret's shape; a mail address is none."""
    text = _unicode(text)
    return any(shape.hide(text) != text for shape in SHAPES if shape is not _MAIL_ADDRESS)


TRUNCATED = "...[truncated]"
MAX_DEPTH = 16
_MAX_BITS = 4096
_MAX_NAMES = 4096
_NO_CARD = 10**11  # card numbers have 13 digits and more
_MAX_INTEGER = 2**63  # MessagePack and SQLite hold no more


@table
class RedactPolicy(Table):
    """What to hide beyond what always is: exact `keys`, RE2 `patterns`; and `max_length`."""

    keys: tuple[Text, ...] = key("Names of fields to hide, at any depth.", default=())
    patterns: tuple[Re2, ...] = key("RE2 patterns to hide anywhere in a text.", default=())
    max_length: Cut = key("A value longer than this is cut.", default=1000)


class Redactor:
    """Hides secrets in values and texts, masks mail addresses, cuts what is long.

    Time is linear in the text: every pattern is RE2. Doing it twice changes nothing.
    Raises ValueError when a pattern of the policy is not RE2.
    """

    def __init__(self, policy: RedactPolicy | None = None) -> None:
        policy = policy or RedactPolicy()
        self._max_length = policy.max_length
        self._keys = frozenset(plain_name(key) for key in policy.keys)
        self._own = tuple(SecretShape(compile_re2(pattern)) for pattern in policy.patterns)
        self._names: dict[str, tuple[str, bool]] = {}  # name -> as shown, whether of a secret

    def fields(self, mapping: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of `mapping`, redacted at any depth, of JSON's types only.

        The value of a secret's name is hidden whole, except null and booleans. Deeper than 16
        levels it is cut off.
        """
        return self._mapping(mapping, 1)

    def text(self, text: str) -> str:
        """Return `text` without secrets, with mail addresses masked, cut at `max_length`."""
        return self._cut(self.secrets(text))

    def secrets(self, text: str) -> str:
        """Return `text` redacted in full length: for a text that its user has a bound for."""
        text = _unicode(text)
        for shape in self._own:
            text = shape.hide(text)
        if not _ANY_SHAPE.Match(text):
            return text
        for shape in SHAPES:
            text = shape.hide(text)
        return text

    def _cut(self, text: str) -> str:
        if len(text) <= self._max_length:
            return text
        return text[: self._max_length] + TRUNCATED

    def _mapping(self, mapping: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        if depth > MAX_DEPTH:
            return {TRUNCATED: len(mapping)}
        out: dict[str, Any] = {}
        for written, value in mapping.items():
            name, secret = self._name(str(written))
            hide = secret and value is not None and not isinstance(value, bool)
            out[name] = REDACTED if hide else self._value(value, depth)
        return out

    def _name(self, name: str) -> tuple[str, bool]:
        """Return a key as shown, and whether it names a secret. The same few come all the time."""
        found = self._names.get(name)
        if found is None:
            if len(self._names) >= _MAX_NAMES:
                self._names.clear()
            plain = plain_name(name)
            found = self.text(name), plain in self._keys or is_secret_name(plain)
            self._names[name] = found
        return found

    def _value(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int | float):
            return self._number(value)
        if isinstance(value, Mapping):
            return self._mapping(value, depth + 1)
        if isinstance(value, list | tuple | set | frozenset):
            return self._items(list(value), depth + 1)
        if isinstance(value, bytes):
            return self.text(value.decode(errors="replace"))
        return self.text(str(value))

    def _items(self, items: list[Any], depth: int) -> list[Any]:
        return [TRUNCATED] if depth > MAX_DEPTH else [self._value(item, depth) for item in items]

    def _number(self, number: float) -> Any:
        """Return a number, or its text if that is a card number's, or JSON could not hold it."""
        if abs(number) < _NO_CARD and not self._own:
            return number
        text = _digits(number)
        hidden = self.text(text)
        if hidden != text:
            return hidden
        if isinstance(number, int):
            return number if abs(number) < _MAX_INTEGER else text
        return number if math.isfinite(number) else text


def _digits(number: float) -> str:
    if isinstance(number, float):
        return f"{number:.15g}"
    # Python refuses to write out a number of more digits than 4300.
    return str(number) if number.bit_length() < _MAX_BITS else f"{number.bit_length()} bits"


def _unicode(text: str) -> str:
    """Return `text` with lone surrogates replaced: neither RE2 nor JSON takes them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def _any_shape() -> re2.Set:
    shapes = re2.Set.SearchSet()
    for shape in SHAPES:
        shapes.Add(shape.regex.pattern)
    shapes.Compile()
    return shapes


# Most texts hold nothing of interest, and one scan for all shapes at once says so.
_ANY_SHAPE = _any_shape()
