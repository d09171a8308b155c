"""Secrets known by their shape anywhere in a text, behind any escapes."""

import json
import re
from binascii import a2b_base64
from codecs import getincrementaldecoder
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

import re2

from sidecar.matchers import compile_re2
from sidecar.redact.names import REDACTED, SOME_NAME, hide_named, is_prose


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


def _unless_prose(found: re.Match[str]) -> str:
    return found[0] if is_prose(found[2]) else found[1] + REDACTED


_FOUR = re.compile(r"[A-Za-z0-9+/_-]{4}")


def _token(pattern: str) -> SecretShape:
    """Return the shape of a token that does not begin in the middle of a word."""
    return SecretShape(compile_re2(rf"(\\[nrt]|\b|_)(?:{pattern})"), _keep_first)


@lru_cache(1 << 14)
def _begins_text(four: str) -> bool:
    """Return whether text may begin as these signs of base64 say."""
    if _FOUR.fullmatch(four) is None:
        return True
    try:
        raw = a2b_base64(four.replace("-", "+").replace("_", "/"))
        return getincrementaldecoder("utf-8")().decode(raw).isprintable()
    except UnicodeDecodeError:
        return False


def _decoded(encoded: str) -> str:
    """Return the text behind base64, or nothing when there is none."""
    if not _begins_text(encoded[:4]):  # as of most ids, which are no base64
        return ""
    encoded = encoded.rstrip("=").replace("-", "+").replace("_", "/")
    whole = len(encoded) - (len(encoded) % 4 == 1)
    try:
        raw = a2b_base64(encoded[:whole] + "=" * (-whole % 4))
    except ValueError:
        return ""
    text = raw.decode(errors="replace")  # what is no text is far too common to be an exception
    return text if text.isprintable() and text.encode() == raw else ""


def _hide_basic(found: re.Match[str]) -> str:
    """Hide what is user:password in base64; `basic information` is none."""
    return found[1] + REDACTED if ":" in _decoded(found[2]) else found[0]


def _hide_jwt(found: re.Match[str]) -> str:
    """Hide a JSON web token, whose first part is an object."""
    try:
        header = json.loads(_decoded(found[1]))
    except (ValueError, RecursionError):
        return found[0]
    return REDACTED if isinstance(header, dict) else found[0]


def _hide_account(found: re.Match[str]) -> str:
    """Hide an IBAN: by the word before it, or its checksum (ISO 13616)."""
    number = found[2].replace(" ", "").upper()
    digits = "".join(str(int(sign, 36)) for sign in number[4:] + number[:4])
    named = "iban" in found[1].lower()
    return found[1] + REDACTED if named or int(digits) % 97 == 1 else found[0]


def _hide_login(found: re.Match[str]) -> str:
    """Hide user:password in a URL; a port, with some `@` behind it, is none."""
    is_port = found[2] and re.match(r":[0-9]{1,5}(?:[/?#]|$)", found[2])
    return found[0] if is_port else f"{found[1]}{REDACTED}@"


def _mask_mail(found: re.Match[str]) -> str:
    """Leave the first letter and the domain: `o***@example.com`.

    Some signs may be part of a name, but in logs they stand before it: `email=olga@example.com`.
    """
    name, domain = found[1], found[2]
    if name.endswith(("***", '***"')) or _is_version(domain):
        return found[0]
    if name[0] == '"':
        return f'"***"@{domain}'
    start = max(name.rfind(sign) for sign in "=&/?'`{|!#$^~") + 1
    start = start if start < len(name) else 0
    return f"{name[: start + 1]}***@{domain}"


_TAGS = frozenset(("alpha", "beta", "canary", "head", "latest", "main", "master", "next", "stable"))


def _is_version(domain: str) -> bool:
    """Tell `icon@2x.png`, `left-pad@1.3.0` and `react@latest` from the host of a mail address."""
    *others, last = domain.split(".")
    if not others:
        return not last.isalpha() or last in _TAGS
    return last.isdecimal() or bool(re.fullmatch(r"[0-9]+x?", others[-1]))


def _hide_cards(found: re.Match[str]) -> str:
    """Hide each run of digit groups that is a card number by its length, issuer and checksum."""
    parts = _GAP.split(found[0])
    groups, gaps = parts[::2], [*parts[1::2], ""]
    out, at = "", 0
    while at < len(groups):
        end = _card_end(groups, gaps, at)
        out += (REDACTED if end else groups[at]) + gaps[(end or at + 1) - 1]
        at = end or at + 1
    return out


def _card_end(groups: list[str], gaps: list[str], start: int) -> int:
    """Return the index after the groups that from `start` on make a card number, or 0."""
    digits = ""
    for index in range(start, len(groups)):
        if index > start and gaps[index - 1] != gaps[start]:
            return 0
        digits += groups[index]
        if len(digits) > _LONGEST_CARD:
            return 0
        if len(digits) >= _SHORTEST_CARD and _ISSUER.fullmatch(digits) and _luhn(digits):
            return index + 1
    return 0


def _luhn(digits: str) -> bool:
    """Return whether the checksum of ISO/IEC 7812-1 (Luhn's) holds."""
    doubled = (int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits)))
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0  # noqa: PLR2004 - two digits' sum


_SHORTEST_CARD, _LONGEST_CARD = 13, 19
_GAPS = " .+\u00a0-"
_GAP = re.compile(f"([{_GAPS}])")
# First digits and lengths of what card issuers use (ISO/IEC 7812): no epoch time begins so.
_ISSUER = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3[05689]\d{12,17}"
    r"|(?:5[06-9]|6\d)\d{11,17}"
)

# In groups or not.
_CARD_NUMBER = SecretShape(compile_re2(rf"[0-9](?:[{_GAPS}]?[0-9]){{12,}}"), _hide_cards)
_MAIL_ADDRESS = SecretShape(
    compile_re2(
        r"([\pL\pN.!#$%&\'*+/=?^_`{|}~-]+|\"[^\"\s@:,]+(?: [^\"\s@:,]+){0,3}\")"
        r"@([\pL\pN](?:[\pL\pN.-]*[\pL\pN])?\.[\pL\pN]{2,}|[a-z]{4,})"
    ),
    _mask_mail,
)
_REST = r"[^\s\"'<>|)\]}]*"  # of a URL

# Order matters: what is long and framed goes first, or a part of it would be taken for the whole.
SHAPES = (
    # PEM blocks, also one that is cut off, or has its newlines escaped
    SecretShape(compile_re2(r"(?s)-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\z)")),
    # URLs that are the secret: incoming webhooks, and Stripe's pages for one customer
    SecretShape(
        compile_re2(
            r"(?i)https?://(?:hooks\.slack(?:-gov)?\.com|discord(?:app)?\.com/api/webhooks"
            r"|[\w.-]+\.webhook\.office\.com|[\w.:-]+/c/pay/cs_"
            rf"|(?:invoice|pay|checkout|billing|connect|verify|files)\.stripe\.com/){_REST}"
        )
    ),
    SecretShape(compile_re2(r"(/bot)[0-9]{6,}:[\w-]{30,}"), _keep_first),
    # user:password in a URL, whatever signs the password holds
    SecretShape(
        compile_re2(
            r"(?i)([a-z][a-z0-9+.-]*://)"
            r"(?:[^\s/?#:@\"'<>\[]*(:[^\s\"'<>]*)@|[^\s/?#\"'<>]*@)"
        ),
        _hide_login,
    ),
    # Authorization headers
    SecretShape(compile_re2(r"(?i)(\bbearer[ :=]+)([a-z0-9._~+/=-]{6,})"), _unless_prose),
    SecretShape(compile_re2(r"(?i)(\bbasic +)([a-z0-9+/_-]{8,}={0,2})"), _hide_basic),
    SecretShape(
        compile_re2(r"(?i)(authorization\W{1,9}[a-z][a-z0-9-]* +)([^\s\"',\\]{6,})"), _unless_prose
    ),
    # Stripe
    _token(r"(?:sk|rk|ek)_(?:org_)?(?:live|test)_[A-Za-z0-9]+|whsec_[A-Za-z0-9+/=]+"),
    _token(r"(?:pi|seti|cs|cuss|src)_[A-Za-z0-9_]+_secret_[A-Za-z0-9]+"),
    # Slack, GitHub, GitLab
    SecretShape(
        compile_re2(r"(\\[nrt]|\b|_)(xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]+|xapp-[A-Za-z0-9-]+)"),
        _unless_prose,
    ),
    _token(r"gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[\w-]{16,}"),
    # AWS, Google, DigitalOcean, Twilio, Atlassian
    _token(r"(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{35}|ya29\.[\w-]{16,}|1//0[\w-]{20,}"),
    _token(r"do[opr]_v1_[0-9a-f]{32,}|SK[0-9a-f]{32}|AT[AC]TT3[\w=-]{20,}"),
    # SendGrid, OpenAI and Anthropic, npm, PyPI, Hugging Face, Shopify, Square, Braintree
    _token(r"SG\.[\w-]{16,}\.[\w-]{16,}|sk-[\w-]{20,}|npm_[A-Za-z0-9]{36}|pypi-[\w-]{16,}"),
    _token(r"hf_[A-Za-z0-9]{20,}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|EAAA[\w-]{40,}"),
    _token(r"sq0[a-z]{3}-[\w-]{22,}|access_token\$\w+\$\w+\$[0-9a-f]{32}"),
    # JSON web tokens
    SecretShape(compile_re2(r"(eyJ[\w-]{6,})\.[\w-]{6,}(?:\.[\w-]*)?"), _hide_jwt),
    SecretShape(compile_re2(r"(?i)(identified by +)'[^']*'?"), _keep_first),
    SecretShape(
        compile_re2(
            r"(?i)((?:\\[nrt]|\b)(?:iban\W{1,4})?)"
            r"([a-z]{2}[0-9]{2}(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,3})?)\b"
        ),
        _hide_account,
    ),
    _CARD_NUMBER,
    _MAIL_ADDRESS,
)
_BASE64 = compile_re2(r"[A-Za-z0-9+/_-]{20,}={0,2}")
# To find them all, this is quicker; one begins where no sign of it stands before.
_RUNS = re.compile(rf"(?<![A-Za-z0-9+/_-]){_BASE64.pattern}")


_ESCAPE = r"%[0-9a-fA-F]{2}|\\u00[2-7][0-9a-fA-F]"
# All that says whether there may be something to hide, in one order.
PATTERNS = (*(shape.regex.pattern for shape in SHAPES), _BASE64.pattern, SOME_NAME, _ESCAPE)


def _any_shape() -> re2.Set:
    """Return all of them as one set, behind them a pattern that every text has.

    RE2 says nothing where a set outgrows its memory: then even that one is missing.
    """
    shapes = re2.Set.SearchSet()
    for pattern in (*PATTERNS, ""):
        shapes.Add(pattern)
    shapes.Compile()
    return shapes


# Layers of escapes that are looked behind: a URL in a URL in a query.
_LAYERS = 4
_UNICODE_ESCAPE = re.compile(r"\\+u00([2-7][0-9a-fA-F])")
# Most texts hold nothing of interest, and one scan for all shapes at once says so.
_ANY_SHAPE = _any_shape()
_ENCODED, _NAMED, _ESCAPED, _ALWAYS = range(len(SHAPES), len(SHAPES) + 4)
_CARD = SHAPES.index(_CARD_NUMBER)
_OFTEN_NONE = frozenset((_CARD, _ENCODED, _ALWAYS))


def _found_in(text: str) -> Collection[int]:
    """Return the numbers of the patterns that well-formed `text` has; none: nothing is hidden.

    Ids are often long enough for base64 or a card's number, which they seldom are.
    """
    found = _ANY_SHAPE.Match(text) or range(_ALWAYS)
    if not _OFTEN_NONE.issuperset(found):
        return found
    if _ENCODED in found and any(map(_decoded, _RUNS.findall(text))):
        return found
    return found if _CARD in found and SHAPES[_CARD].hide(text) != text else ()


def may_hold_secrets(text: str) -> bool:
    """Return whether some part of well-formed `text` may be a secret; if not, nothing is hidden."""
    return bool(_found_in(text))


def hide_secrets(text: str, layers: int = _LAYERS) -> str:
    """Return well-formed `text` without secrets; unescaped where only that shows one."""
    found = _found_in(text)
    if not found:
        return text
    for index in sorted(found):
        if index < len(SHAPES):
            text = SHAPES[index].hide(text)
    if layers and _ENCODED in found:
        text = _BASE64.sub(lambda run: _hide_encoded(run[0], layers - 1), text)
    if _NAMED in found:
        text = hide_named(text)
    return _unescaped(text, layers - 1) if layers and _ESCAPED in found else text


def _unescaped(text: str, layers: int) -> str:
    plain = _UNICODE_ESCAPE.sub(lambda found: chr(int(found[1], 16)), unquote(text))
    hidden = hide_secrets(plain, layers)
    return text if hidden == plain else hidden


def _hide_encoded(encoded: str, layers: int) -> str:
    """Hide base64 text that holds a secret."""
    text = _decoded(encoded)
    return REDACTED if text and hide_secrets(text, layers) != text else encoded


def is_secret_text(text: str) -> bool:
    """Return whether some part of `text` has a secret's shape; a mail address is none."""
    text = well_formed(text)
    shapes = (shape for shape in SHAPES if shape is not _MAIL_ADDRESS)
    return hide_named(text) != text or any(shape.hide(text) != text for shape in shapes)


def well_formed(text: str) -> str:
    """Return `text` with lone surrogates replaced: neither RE2 nor JSON takes them."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text
