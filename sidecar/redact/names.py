"""Secrets known by the name that holds them.

One table serves keys of objects, pairs, and texts in which a name and its value stand side by side.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from sidecar.matchers import compile_re2, spans_in

REDACTED = "***REDACTED***"

# A name holds a secret when it is one of these, or ends in one behind a `_`. Machines make the
# values of the first: words joined by `_` are none.
_MADE = (
    "access_key", "account_key", "api_key", "apikey", "authorization", "basic_auth", "broker_url",
    "client_secret", "connection_string", "cookie", "cookies", "credentials", "csrf",
    "database_url", "dsn", "encryption_key", "http_auth", "jwt", "key", "master_key",
    "mongodb_uri", "private_key", "proxy_auth", "redis_url", "secret", "secret_key", "secrets",
    "session_id", "session_key", "sessionid", "signature", "signing_key", "ssh_key", "token",
    "tokens", "webhook_url", "x_auth", "xsrf",
)  # fmt: skip
# People choose these, or they are short by nature: any value can be one. Many are a customer's own.
_CHOSEN = (
    "account_number", "bank_account", "billing_address", "birth_date", "card_fingerprint",
    "card_number", "cardnumber", "cc_number", "credit_card", "cvc", "cvc2", "cvv", "cvv2",
    "date_of_birth", "home_address", "hosted_instructions_url", "hosted_invoice_url",
    "hosted_verification_url", "hosted_voucher_url", "iban", "invoice_pdf", "line1", "line2",
    "mfa_code", "mobile_number", "otp", "pass", "passcode", "passphrase", "passwd", "password",
    "phone", "phone_number", "pin", "postal_address", "postal_code", "pwd", "receipt_url",
    "routing_number", "security_code", "shipping_address", "social_security_number", "sort_code",
    "ssn", "street_address", "tax_id", "telephone", "totp", "zip_code",
)  # fmt: skip
# Too short or too common to be meant at the end of another name.
_WHOLE = (
    "address", "auth", "bearer", "cc", "dob", "fingerprint", "mnemonic", "pan", "pem", "seed",
    "sess", "session", "sig",
)  # fmt: skip
# Written without a gap: `accesstoken`, `PGPASSWORD`.
_GLUED = (
    "accesskey", "accountkey", "apikey", "authorization", "dbpass", "masterkey", "passphrase",
    "passwd", "password", "privatekey", "secret", "secretkey", "signingkey", "token", "userpass",
)  # fmt: skip
# Names that end in `_key` or `_token` but name or count things; hiding them would only hurt.
_INNOCENT = frozenset((
    "cache_key", "dedup_key", "foreign_key", "group_key", "idempotency_key", "issue_key", "key",
    "lookup_key", "next_page_token", "object_key", "page_token", "partition_key", "primary_key",
    "project_key", "public_key", "publishable_key", "routing_key", "s3_key", "sort_key",
))  # fmt: skip
_NAMES = frozenset((*_MADE, *_CHOSEN, *_WHOLE))
_ENDINGS = (*(f"_{name}" for name in (*_MADE, *_CHOSEN)), *_GLUED)
_OF_PEOPLE = (*_CHOSEN, "address", "cc", "dob", "pan")
# What may stand behind a secret's name and changes nothing: `password_confirmation`, `password1`.
_BEHIND = "value|hash|confirmation|confirm|pem|raw|encrypted"
_QUALIFIER = re.compile(rf"(?:_?[0-9]+|_(?:{_BEHIND}))$")
# Only in the query of a URL: `?code=` of OAuth.
_IN_QUERY = frozenset(("code", "key"))
# Ids of Stripe's objects, which open nothing without a key.
_PUBLIC_ID = re.compile(
    r"(?:acct|ba|card|ch|cn|cs|cus|di|dp|du|evt|fee|ich?|ii|il|in|li|mandate|pi|pm|po|price|prod"
    r"|promo|pyr?|qt|req?|rp|seti|si|src|sub(?:_sched)?|tr|txcd|txi|txn|txr|we)"
    r"_(?:(?:live|test)_)?[A-Za-z0-9]+"
)


def plain_name(name: str) -> str:
    """Return a key in one spelling: `clientSecret`, `Client-Secret` -> `client_secret`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name[:200])
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def is_secret_name(name: str) -> bool:
    """Return whether a key, as `plain_name` has it, names a secret."""
    while name not in _NAMES and (bare := _QUALIFIER.sub("", name)) not in ("", name):
        name = bare
    return name not in _INNOCENT and (name in _NAMES or name.endswith(_ENDINGS))


# `incorrect`, `verify_failed`, `Signature mismatch`: a longer run of letters is seldom a word.
_WORD = r"(?:[A-Z]?[a-z]{1,15}|[A-Z]{1,15})"
_WORDS = re.compile(rf"{_WORD}(?:[ _./:-]+{_WORD})*")
_JOINED = re.compile(rf"{_WORD}(?:[_-]{_WORD})+")
_NOTHING = frozenset(("", "none", "null", "nil", "true", "false", "undefined"))
_HIDDEN = re.compile(rf"{re.escape(REDACTED)}(?:~[0-9a-f]{{8}})?")
_LONGEST_COUNT = 5  # digits; a one-time token has six


def is_hidden(value: str) -> bool:
    """Return whether redaction has been here, and hidden all."""
    return bool(_HIDDEN.fullmatch(value))


def is_plain(name: str, value: str) -> bool:
    """Return whether what a secret's name holds is none: nothing, a public id, a count."""
    if value.lower() in _NOTHING or _PUBLIC_ID.fullmatch(value) or is_hidden(value):
        return True
    if name == "address":  # a machine's
        return " " not in value
    counts = name.endswith(("token", "tokens")) and value.isdecimal()
    return counts and (name[-1] == "s" or len(value) <= _LONGEST_COUNT)


def is_prose(value: str) -> bool:
    """Return whether a text is nothing but words, or has no letter and no digit."""
    return bool(_WORDS.fullmatch(value)) or not any(map(str.isalnum, value))


def is_state(name: str, value: str) -> bool:
    """Return whether joined words tell how a machine's secret fares: `signature=verify_failed`."""
    return bool(_JOINED.fullmatch(value)) and not name.endswith(_OF_PEOPLE)


# A name, and the sign behind it: of an assignment, of a key in quotes, or of a pair's first half
# (`["cookie", "x"]`, `"name": "cookie", "value": "x"`). Quotes may be escaped any number of times.
_NAMED = compile_re2(
    r"(?i)(?:\\[nrt])?"
    r"((?:(?:api|secret|access|private|card|account|security) )?[a-z0-9][\w.\-\[\]]*)"
    r"(?:(\\*[\"'])\s*(=>|[:,])(\s*\\*[\"']value\\*[\"']\s*:)?|\s*([:=]))"
    r"\s*(?:b?(\\*[\"']))?"
)
# Whether a text may hold such a name: this only says so, and is far quicker than what finds it.
_SECRET = (
    rf"(?:(?:\b|\\[nrt])(?:{'|'.join(_WHOLE)})"
    rf"|{'|'.join((*_MADE, *_CHOSEN)).replace('_', '[_. -]?')})"
    rf"(?:[_.-]?(?:[0-9]+|{_BEHIND}))*"
)
SOME_NAME = (
    rf"(?i){_SECRET}(?:\]?\\*[\"']\s*(?:=>|:)|\]?\s*[:=]|\\*[\"']\s*,\s*\\*[\"']value)"
    rf"|[\[(]\s*b?\\*[\"'][\w.-]*{_SECRET}\\*[\"']\s*,|[?&](?:code|key)="
)
_PAIR_BEGINS = re.compile(r"[\[(]\s*b?\\*[\"']")
# A separator belongs to the value unless it is followed by a blank or by the next name.
_VALUE = re.compile(
    r"(?:[^\s\"'&;,\\]|\\(?![nrt\"'\\])|[\"'](?=\w)|[&;,](?!\s|$|[\w.%\[\]-]+[=:]))*"
)
_LIST_END = re.compile(r"\](?![\w=])")  # but not of `user[password]=`
_LINE = re.compile(r"[^\r\n\"'\\]*")
_MORE_DIGITS = re.compile(r"(?: [0-9()/-]+)*")


@lru_cache(4096)
def secret_name(written: str) -> str:
    """Return the plain name if it is a secret's, else nothing. The same few come all the time."""
    name = plain_name(written)
    return name if is_secret_name(name) else ""


class _Named(NamedTuple):
    """A name in a text, and what stands behind it; `end` is where the value begins.

    Of a name in quotes: `quote`, `sign` and `key`, `"value":`. Else `equals`. `opening` of a value.
    """

    start: int
    end: int
    name: str
    quote: str
    sign: str
    key: str
    equals: str
    opening: str


def _names_in(text: str) -> Iterator[_Named]:
    if not text.isascii():
        for found in _NAMED.finditer(text):
            yield _Named(found.start(), found.end(), *(one or "" for one in found.groups()))
        return
    raw = text.encode()  # of bytes it costs a fifth, and of these each is a character
    spans = spans_in(_NAMED, raw)
    while spans is not None:
        (start, end), *groups = spans
        yield _Named(start, end, *(text[begin:to] if begin >= 0 else "" for begin, to in groups))
        spans = spans_in(_NAMED, raw, end)


def hide_named(text: str) -> str:
    """Hide what stands behind the name of a secret."""
    out, at = [], 0
    for found in _names_in(text):
        start = found.start
        name = secret_name(found.name)
        if not name and text[start - 1 : start] in ("?", "&") and found.name.lower() in _IN_QUERY:
            name = found.name
        if not name or start < at or (found.sign == "," and not _is_pair(text, found)):
            continue
        end = _value_end(text, found, name)
        if not _stays(found, name, text[found.end : end]):
            out += [text[at : found.end], REDACTED]
            at = end
    return "".join([*out, text[at:]])


def _is_pair(text: str, found: _Named) -> bool:
    """Return whether a name in quotes with a comma behind it names what comes next."""
    before = text[max(0, found.start - 16) : found.start]
    bracket = max(before.rfind("["), before.rfind("("))
    return bool(found.key) or bool(_PAIR_BEGINS.fullmatch(before, max(0, bracket)))


def _value_end(text: str, found: _Named, name: str) -> int:
    """Return where the value ends that follows a name."""
    start = found.end
    if found.opening:
        return _closing(text, start, found.opening)
    if found.quote and text[start : start + 1] == "[":
        listed = _LIST_END.search(text, start)
        return listed.end() if listed else len(text)
    if found.equals == ":" and name.endswith(("cookie", "cookies")):  # a header: `a=b; c=d`
        line = _matched(_LINE, text, start)
        if "=" in line:
            return start + len(line)
    end = start + len(_matched(_VALUE, text, start).rstrip(")]}>"))
    if name.endswith(_OF_PEOPLE) and text[end - 1 : end].isdecimal():
        return end + len(_matched(_MORE_DIGITS, text, end))
    return end


def _matched(pattern: re.Pattern[str], text: str, at: int) -> str:
    found = pattern.match(text, at)
    return found[0] if found else ""


def _closing(text: str, start: int, opening: str) -> int:
    """Return where a quoted text ends: at a quote that is escaped no deeper than `opening`."""
    quote, depth, at = opening[-1], len(opening) - 1, start
    while (at := text.find(quote, at)) >= 0:
        begin = at
        while begin > start and text[begin - 1] == "\\":
            begin -= 1
        if at - begin <= depth or (depth == 0 and (at - begin) % 2 == 0):
            return begin
        at += 1
    return len(text)


def _stays(found: _Named, name: str, value: str) -> bool:
    """Return whether the value behind a secret's name can be shown."""
    if value[:1] == "{" or is_plain(name, value):
        return True
    if found.equals == ":":  # of a sentence: `signature: 5 in an hour`
        short = value.isdecimal() and len(value) <= _LONGEST_COUNT
        return is_prose(value) or (short and not name.endswith(_OF_PEOPLE))
    return (found.equals == "=" or found.sign == ",") and is_state(name, value)
